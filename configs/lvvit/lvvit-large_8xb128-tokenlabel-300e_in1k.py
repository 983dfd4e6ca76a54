# LV-ViT-L on ImageNet at 224 x 224: the recipe of LV-ViT-S with lr 1e-3, drop path 0.3, three
# RandAugment policies, and validation on the full image (crop 1.0).
#
# Paper:     All Tokens Matter, arXiv 2104.10858
# Command:   mim train mmpretrain configs/lvvit/lvvit-large_8xb128-tokenlabel-300e_in1k.py
#            --launcher pytorch --gpus 8
#            --cfg-options compile=True optim_wrapper.type=mmtl.BFloat16OptimWrapper
# Batch:     8 GPUs x 128 = 1024 images, lr 1e-3
# Length:    300 epochs + 10 at the floor = 310 x 1251 (1,281,167 images / 1024) = 387,810 steps
# Quoted:    no accuracy: the paper gives L at 448 and 512 only
# Measured:  not yet run
_base_ = [
    "../_base_/models/lvvit/large.py",
    "../_base_/datasets/imagenet_score_maps.py",
    "../_base_/schedules/imagenet_bs1024_adamw_300e_lr1e-3.py",
    "../_base_/pretrain_runtime.py",
]
train_steps, test_steps = _base_.train_steps, _base_.test_steps
train_steps.rand_augment.update(num_policies=3)
test_steps.resize.update(scale=_base_.img_size)  # the full image: crop 1.0
train_pipeline, test_pipeline = list(train_steps.values()), list(test_steps.values())
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
