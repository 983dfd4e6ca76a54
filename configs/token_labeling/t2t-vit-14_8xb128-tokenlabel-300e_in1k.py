# T2T-ViT-14 on ImageNet with token labels and MixToken. The tokens are mixed as they leave the tokens-to-token module,
# whose patches overlap and attend to each other, so each token depends on its own image only; 14 x 14 labels.
#
# Paper:     All Tokens Matter, arXiv 2104.10858, which trains other backbones with token labels as well;
#            backbone: Yuan et al., arXiv 2101.11986, settings of mmpretrain's t2t-vit-t-14
# Command:   mim train mmpretrain configs/token_labeling/t2t-vit-14_8xb128-tokenlabel-300e_in1k.py
#            --launcher pytorch --gpus 8
#            --cfg-options optim_wrapper.type=mmtl.BFloat16OptimWrapper
# Batch:     8 GPUs x 128 = 1024 images, lr 1e-3 (mmpretrain's 5e-4 x 1024 / 512);
#            the rest as LV-ViT-S
# Length:    300 epochs + 10 at the floor = 310 x 1251 (1,281,167 images / 1024) = 387,810 steps
# Measured:  not yet run; 21.9 M parameters with both heads
_base_ = "../_base_/token_labeling_in1k.py"
model = dict(
    backbone=dict(
        type="T2T_ViT",
        img_size=224,
        embed_dims=384,
        num_layers=14,
        t2t_cfg=dict(token_dims=64, use_performer=False),
        layer_cfgs=dict(num_heads=6, feedforward_channels=3 * 384),
        out_type="raw",
        drop_path_rate=0.1,
        init_cfg=_base_.transformer_init,
    ),
    head=dict(in_channels=384),
)
