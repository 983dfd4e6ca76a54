# LV-ViT-S on ImageNet with the released order of the augmentation: flip and RandAugment on the full image, then the
# crop, all in the data-loader workers; then erasing. The other recipes crop first, as timm and DeiT do, and change the
# pixels on the device; docs/differences_from_paper.md has the effect.
#
# Paper:     All Tokens Matter, arXiv 2104.10858
# Command:   mim train mmpretrain configs/lvvit/lvvit-small_8xb128-tokenlabel-releasedorder-300e_in1k.py
#            --launcher pytorch --gpus 8
#            --cfg-options compile=True optim_wrapper.type=mmtl.BFloat16OptimWrapper
# Batch:     8 GPUs x 128 = 1024 images, lr 1.6e-3 (with another batch add --auto-scale-lr)
# Length:    300 epochs + 10 at the floor = 310 x 1251 (1,281,167 images / 1024) = 387,810 steps
# Measured:  not yet run
_base_ = "lvvit-small_8xb128-tokenlabel-300e_in1k.py"
steps = _base_.train_steps
train_steps = dict(
    load_image=steps.load_image,
    load_score_map=steps.load_score_map,
    flip=dict(steps.flip, on_device=False),
    rand_augment=dict(steps.rand_augment, on_device=False),
    crop=dict(steps.crop, backend="pillow"),
    erasing=steps.erasing,  # of the normalized image, on the device
    pack=steps.pack,
)
train_pipeline = list(train_steps.values())
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
