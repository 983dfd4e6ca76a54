# Released recipe: AdamW, 1.6e-3 for a batch of 1024, 5 epochs of warm-up from 1e-6, cosine to 1e-5 at epoch 300, then
# 10 epochs at the floor. Departure: the released cosine runs from epoch 0 under the warm-up and steps once an epoch;
# here it starts at epoch 5 and steps every iteration.
_base_ = "imagenet_adamw.py"
max_lr, min_lr, warmup_lr = 1.6e-3, 1e-5, 1e-6
warmup_epochs, cosine_epochs, cooldown_epochs = 5, 300, 10
epochs = cosine_epochs + cooldown_epochs
steps_per_epoch = 1251  # 1,281,167 images / 1024; an incomplete last batch is dropped

optim_wrapper = dict(optimizer=dict(lr=max_lr))
# Ratios, not rates: --auto-scale-lr multiplies max_lr by batch / 1024, and with it the start and the floor.
warmup = dict(type="LinearLR", by_epoch=True, end=warmup_epochs, convert_to_iter_based=True)
warmup.update(start_factor=warmup_lr / max_lr)
cosine = dict(type="CosineAnnealingLR", by_epoch=True, begin=warmup_epochs, convert_to_iter_based=True)
cosine.update(eta_min_ratio=min_lr / max_lr, end=cosine_epochs)
param_scheduler = [warmup, cosine]
train_cfg = dict(max_epochs=epochs)
# 0.99992 for 310 x 1251 = 387,810 steps is an average over 3.2 % of them.
custom_hooks = [dict(_base_.ema, base_steps=epochs * steps_per_epoch)]
auto_scale_lr = dict(base_batch_size=1024)
