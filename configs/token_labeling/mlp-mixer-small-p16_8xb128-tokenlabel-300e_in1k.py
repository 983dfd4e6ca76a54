# MLP-Mixer-S/16 on ImageNet with token labels and MixToken: no class token (its logits come from the mean of the
# tokens), 14 x 14 labels.
#
# Paper:     All Tokens Matter, arXiv 2104.10858, which trains other backbones with token labels as well;
#            backbone: Tolstikhin et al., arXiv 2105.01601, clipping at 1
# Command:   mim train mmpretrain configs/token_labeling/mlp-mixer-small-p16_8xb128-tokenlabel-300e_in1k.py
#            --launcher pytorch --gpus 8
#            --cfg-options optim_wrapper.type=mmtl.BFloat16OptimWrapper
# Batch:     8 GPUs x 128 = 1024 images, lr 1e-3 (DeiT's 5e-4 x 1024 / 512);
#            the rest as LV-ViT-S
# Length:    300 epochs + 10 at the floor = 310 x 1251 (1,281,167 images / 1024) = 387,810 steps
# Measured:  not yet run; 19.0 M parameters with both heads
_base_ = "../_base_/token_labeling_in1k.py"
model = dict(
    backbone=dict(
        type="MlpMixer",
        arch="small",
        img_size=224,
        patch_size=16,
        init_cfg=dict(type="Kaiming", layer="Conv2d", mode="fan_in", nonlinearity="linear"),
    ),
    head=dict(in_channels=512, channels_first=True),
)
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
