# What the backbone from token labels is compared with: the same fine-tuning of the one from class labels alone.
#
# Command:  mim train mmsegmentation configs/demo/lvvit-nano_upernet_1xb16-classlabel-300i_demo-64x80.py --gpus 0
# Needs:    work_dirs/demo/class_labels/epoch_6.pth
_base_ = ["lvvit-nano_upernet_1xb16-tokenlabel-300i_demo-64x80.py"]
work_dir = "work_dirs/demo/segmentation_class_labels"
pretrained = "work_dirs/demo/class_labels/epoch_6.pth"
model = dict(backbone=dict(init_cfg=dict(checkpoint=pretrained)))
