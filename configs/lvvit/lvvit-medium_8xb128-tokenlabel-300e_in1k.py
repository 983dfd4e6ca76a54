# LV-ViT-M on ImageNet at 224 x 224: the recipe of LV-ViT-S, drop path 0.2, validation on the full image (crop 1.0).
#
# Paper:     All Tokens Matter, arXiv 2104.10858
# Command:   mim train mmpretrain configs/lvvit/lvvit-medium_8xb128-tokenlabel-300e_in1k.py
#            --launcher pytorch --gpus 8
#            --cfg-options compile=True optim_wrapper.type=mmtl.BFloat16OptimWrapper
# Batch:     8 GPUs x 128 = 1024 images, lr 1.6e-3
# Length:    300 epochs + 10 at the floor = 310 x 1251 (1,281,167 images / 1024) = 387,810 steps
# Quoted:    84.0 % top-1 (paper)
# Measured:  not yet run
_base_ = [
    "../_base_/models/lvvit/medium.py",
    "../_base_/datasets/imagenet_score_maps.py",
    "../_base_/schedules/imagenet_bs1024_adamw_300e.py",
    "../_base_/pretrain_runtime.py",
]

test_steps = _base_.test_steps
test_steps.resize.update(scale=_base_.img_size)  # the full image: crop 1.0
test_pipeline = list(test_steps.values())
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
