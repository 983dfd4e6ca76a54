# The baseline of the backbone from token labels: the same fine-tuning of the backbone from class labels only.
#
# Command:   mim train mmsegmentation configs/demo/lvvit-nano_upernet_1xb16-classlabel-300i_demo-64x80.py --gpus 0
# Needs:     work_dirs/demo/class_labels/epoch_6.pth
# Batch:     1 CPU x 16 images, lr 1e-3
# Length:    300 steps x 16 images = 1.6 epochs of 3000 images
# Measured:  `mmtl demo` runs it and reports the result
_base_ = ["lvvit-nano_upernet_1xb16-tokenlabel-300i_demo-64x80.py"]
work_dir = "work_dirs/demo/segmentation_class_labels"
pretrained = "work_dirs/demo/class_labels/epoch_6.pth"
model = dict(backbone=dict(init_cfg=dict(checkpoint=pretrained)))
