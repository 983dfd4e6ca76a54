# Any backbone with the head of token labeling for ImageNet; a recipe adds backbone and head.in_channels. The token
# stride, and with it the grid of the labels, is measured on the backbone.
_base_ = [
    "datasets/imagenet_score_maps.py",
    "schedules/imagenet_bs1024_adamw_300e.py",
    "pretrain_runtime.py",
]
model = dict(
    type="mmtl.TokenLabelClassifier",
    head=dict(type="mmtl.TokenLabelHead", num_classes=1000),
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        smoothing=0.1,
        batch_augments=dict(augments=[dict(type="mmtl.MixToken")]),
    ),
)
max_lr = 1e-3  # DeiT's and Swin's 5e-4 x 1024 / 512
optim_wrapper = dict(optimizer=dict(lr=max_lr))
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(start_factor=_base_.warmup_lr / max_lr)
param_scheduler[1].update(eta_min_ratio=_base_.min_lr / max_lr)
