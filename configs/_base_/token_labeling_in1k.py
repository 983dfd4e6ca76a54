# Token labeling on ImageNet for any backbone, at DeiT's and Swin's rate; a recipe adds model.backbone. The channels of
# the head, if not given, and the token stride, which sets the grid of the labels, are measured on the backbone.
_base_ = [
    "models/token_labeling.py",
    "datasets/imagenet_score_maps.py",
    "schedules/imagenet_bs1024_adamw_300e_lr1e-3.py",
    "pretrain_runtime.py",
]
# Initial weights of DeiT, Swin and T2T-ViT.
transformer_init = [
    dict(type="TruncNormal", layer="Linear", std=0.02),
    dict(type="Constant", layer="LayerNorm", val=1.0, bias=0.0),
]
