# The schedule of 300 epochs at 1e-3: LV-ViT-L's rate, and DeiT's and Swin's 5e-4 x 1024 / 512.
_base_ = "imagenet_bs1024_adamw_300e.py"
max_lr = 1e-3
optim_wrapper = dict(optimizer=dict(lr=max_lr))
param_scheduler = [
    dict(_base_.warmup, start_factor=_base_.warmup_lr / max_lr),
    dict(_base_.cosine, eta_min_ratio=_base_.min_lr / max_lr),
]
