# DeiT-S (mmpretrain's VisionTransformer) on ImageNet with token labels and MixToken, both as in LV-ViT: the tokens are
# mixed between patch and position embedding, 14 x 14 labels.
#
# Paper:     All Tokens Matter, arXiv 2104.10858, which trains other backbones with token labels as well;
#            backbone: Touvron et al., arXiv 2012.12877, drop path 0.1 (table 9)
# Command:   mim train mmpretrain configs/token_labeling/deit-small_8xb128-tokenlabel-300e_in1k.py
#            --launcher pytorch --gpus 8
#            --cfg-options optim_wrapper.type=mmtl.BFloat16OptimWrapper
# Batch:     8 GPUs x 128 = 1024 images, lr 1e-3 (DeiT's 5e-4 x 1024 / 512);
#            the rest as LV-ViT-S
# Length:    300 epochs + 10 at the floor = 310 x 1251 (1,281,167 images / 1024) = 387,810 steps
# Measured:  not yet run; 22.4 M parameters with both heads
_base_ = "../_base_/token_labeling_in1k.py"
model = dict(
    backbone=dict(
        type="VisionTransformer",
        arch="deit-small",
        img_size=224,
        patch_size=16,
        out_type="raw",
        drop_path_rate=0.1,
        init_cfg=_base_.transformer_init,
    ),
    head=dict(in_channels=384),
)
