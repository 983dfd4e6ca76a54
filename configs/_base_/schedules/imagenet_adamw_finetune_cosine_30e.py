# VOLO's fine-tuning at a larger image size, released values: AdamW, 5 epochs of warm-up from 1e-6 to 8e-6, cosine to
# 4e-6 at epoch 30, then 10 epochs at the floor; weight decay 1e-8, no average of the weights. A recipe adds
# auto_scale_lr.base_batch_size.
_base_ = "imagenet_adamw.py"
max_lr, min_lr, warmup_lr = 8e-6, 4e-6, 1e-6
warmup_epochs, cosine_epochs, cooldown_epochs = 5, 30, 10
epochs = cosine_epochs + cooldown_epochs

optim_wrapper = dict(optimizer=dict(lr=max_lr, weight_decay=1e-8))
warmup = dict(type="LinearLR", by_epoch=True, end=warmup_epochs, convert_to_iter_based=True)
warmup.update(start_factor=warmup_lr / max_lr)
cosine = dict(type="CosineAnnealingLR", by_epoch=True, begin=warmup_epochs, convert_to_iter_based=True)
cosine.update(eta_min_ratio=min_lr / max_lr, end=cosine_epochs)
cooldown = dict(type="ConstantLR", factor=1.0, by_epoch=True, begin=cosine_epochs, end=epochs)
param_scheduler = [warmup, cosine, cooldown]
train_cfg = dict(max_epochs=epochs)
