# Swin-T on ImageNet with token labels and MixToken. The 56 x 56 embedded patches are mixed by a box of the 7 x 7
# output grid, so no token of any stage is merged from two images; the class logits come from the pooled map.
#
# Paper:     All Tokens Matter, arXiv 2104.10858, which trains other backbones with token labels as well;
#            backbone: Liu et al., arXiv 2103.14030, drop path 0.2 and clipping at 5
# Command:   mim train mmpretrain configs/token_labeling/swin-tiny_8xb128-tokenlabel-300e_in1k.py
#            --launcher pytorch --gpus 8
#            --cfg-options optim_wrapper.type=mmtl.BFloat16OptimWrapper
# Batch:     8 GPUs x 128 = 1024 images, lr 1e-3 (Swin's own);
#            no decay of the position bias, as in Swin's recipe; the rest as LV-ViT-S
# Length:    300 epochs + 10 at the floor = 310 x 1251 (1,281,167 images / 1024) = 387,810 steps
# Measured:  not yet run; 29.1 M parameters with both heads
_base_ = "../_base_/token_labeling_in1k.py"
model = dict(
    backbone=dict(
        type="SwinTransformer",
        arch="tiny",
        img_size=224,
        drop_path_rate=0.2,
        init_cfg=_base_.transformer_init,
    ),
    head=dict(in_channels=768),
)
optim_wrapper = dict(
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(custom_keys={".relative_position_bias_table": dict(decay_mult=0.0)}),
)
