# UperNet on LV-ViT-S for Cityscapes, 19 classes, crops of 512 x 1024.
#
# Paper:     not in the paper
# Command:   mim train mmsegmentation configs/lvvit/lvvit-small_upernet_8xb2-80k_cityscapes-512x1024.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/lvvit-small_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 2 = 16 images, lr 6e-5
# Length:    80k steps = 430 epochs of 2,975 images
# Measured:  not yet run
_base_ = [
    "../_base_/models/lvvit/upernet_small.py",
    "../_base_/datasets/cityscapes_512x1024.py",
    "../_base_/schedules/segment_bs16_adamw_80k.py",
    "../_base_/segment_runtime.py",
]
default_hooks = dict(checkpoint=dict(interval=8000))

# The crop size of the dataset's pipeline, of which the model's sizes follow; windows overlap by a third.
crop_size = _base_.crop_size
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(img_size=crop_size),
    decode_head=dict(num_classes=19),
    auxiliary_head=dict(num_classes=19),
    test_cfg=dict(crop_size=crop_size, stride=tuple(round(side * 2 / 3) for side in crop_size)),
)
