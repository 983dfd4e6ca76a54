# UperNet on LV-ViT-S for ADE20K at 512 x 512, with the released side layers.
#
# Paper:     All Tokens Matter, arXiv 2104.10858
# Command:   mim train mmsegmentation configs/lvvit/lvvit-small_upernet_8xb2-160k_ade20k-512x512.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/lvvit-small_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Test:      mim test mmsegmentation CONFIG --checkpoint CHECKPOINT; multi-scale and flip with --tta
# Batch:     8 GPUs x 2 = 16 images, lr 6e-5
# Length:    160k steps = 127 epochs of 20,210 images
# Quoted:    47.9 mIoU, 48.6 with multi-scale and flip (paper)
# Measured:  not yet run
_base_ = [
    "../_base_/models/lvvit/upernet_small.py",
    "../_base_/datasets/ade20k_512x512.py",
    "../_base_/schedules/segment_bs16_adamw_160k.py",
    "../_base_/segment_runtime.py",
]

# The crop size of the dataset's pipeline, of which the model's sizes follow; windows overlap by a third.
crop_size = _base_.crop_size
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(img_size=crop_size),
    test_cfg=dict(crop_size=crop_size, stride=tuple(round(side * 2 / 3) for side in crop_size)),
)
