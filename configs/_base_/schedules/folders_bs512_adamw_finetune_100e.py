# Fine-tuning on another dataset: the schedule of the pretraining with 1e-4 for a batch of 512, cosine to 1e-6 at epoch
# 100. These values are ours: the released command leaves rate and length at those of the pretraining (1.6e-3, 300
# epochs). As there, the weights are not averaged.
#
# To average the weights too, add to a recipe: custom_hooks = [dict(_base_.ema, base_steps=310 * 1251)]
_base_ = "imagenet_bs1024_adamw_300e.py"
max_lr, min_lr, warmup_lr = 1e-4, 1e-6, 1e-6
cosine_epochs, cooldown_epochs = 100, 0

optim_wrapper = dict(optimizer=dict(lr=max_lr))
param_scheduler = [
    dict(_base_.warmup, start_factor=warmup_lr / max_lr),
    dict(_base_.cosine, eta_min_ratio=min_lr / max_lr, end=cosine_epochs),
]
train_cfg = dict(max_epochs=cosine_epochs)
custom_hooks = []
auto_scale_lr = dict(base_batch_size=512)
