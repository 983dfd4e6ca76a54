# ResNeXt-50 32x4d on ImageNet with token labels and CutMix. It has no patch embedding to mix tokens after: pixels are
# cut instead, with labels cut in the same box; 7 x 7 labels, the class logits come from the pooled map.
#
# Paper:     All Tokens Matter, arXiv 2104.10858, which trains other backbones with token labels as well;
#            backbone: Xie et al., arXiv 1611.05431; CutMix: Yun et al., arXiv 1905.04899
# Command:   mim train mmpretrain configs/token_labeling/resnext50-32x4d_8xb128-tokenlabel-cutmix-300e_in1k.py
#            --launcher pytorch --gpus 8
#            --cfg-options optim_wrapper.type=mmtl.BFloat16OptimWrapper
# Batch:     8 GPUs x 128 = 1024 images, lr 1e-3 (DeiT's 5e-4 x 1024 / 512);
#            the rest as LV-ViT-S
# Length:    300 epochs + 10 at the floor = 310 x 1251 (1,281,167 images / 1024) = 387,810 steps
# Measured:  not yet run; 27.1 M parameters with both heads
_base_ = "../_base_/token_labeling_in1k.py"
model = dict(
    backbone=dict(type="ResNeXt", depth=50, groups=32, width_per_group=4),
    head=dict(in_channels=2048),
    data_preprocessor=dict(batch_augments=dict(augments=[dict(type="mmtl.CutMix")])),
)
