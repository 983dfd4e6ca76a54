# Any timm model on ImageNet with token labels: choose it by its name, as in
# --cfg-options model.backbone.model_name=swin_tiny_patch4_window7_224. Channels, token stride and patch embedding are
# found from the model. MixToken mixes after its patch embedding; CutMix replaces it for models that have none, and the
# log says why.
#
# Paper:     All Tokens Matter, arXiv 2104.10858, which trains other backbones with token labels as well;
#            the default is DeiT-S as timm has it, Touvron et al., arXiv 2012.12877, drop path 0.1 (table 9)
# Command:   mim train mmpretrain configs/token_labeling/timm_8xb128-tokenlabel-300e_in1k.py
#            --launcher pytorch --gpus 8
#            --cfg-options model.backbone.model_name=deit_small_patch16_224
#            optim_wrapper.type=mmtl.BFloat16OptimWrapper
# Batch:     8 GPUs x 128 = 1024 images, lr 1e-3 (DeiT's 5e-4 x 1024 / 512);
#            the rest as LV-ViT-S
# Length:    300 epochs + 10 at the floor = 310 x 1251 (1,281,167 images / 1024) = 387,810 steps
# Measured:  not yet run; 22.4 M parameters with both heads
_base_ = "../_base_/token_labeling_in1k.py"
model = dict(
    backbone=dict(
        type="mmtl.TimmBackbone",
        model_name="deit_small_patch16_224",
        img_size=224,
        drop_path_rate=0.1,
    ),
    data_preprocessor=dict(
        batch_augments=dict(augments=[dict(type="mmtl.MixToken", fallback=dict(type="mmtl.CutMix"))]),
    ),
)
