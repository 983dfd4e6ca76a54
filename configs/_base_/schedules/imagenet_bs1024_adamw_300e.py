# Released recipe: AdamW, 1.6e-3 for a batch of 1024, 5 epochs of warm-up from 1e-6, cosine to 1e-5 at epoch 300, then
# 10 epochs at the floor. Departure: the released cosine runs from epoch 0 under the warm-up and steps once an epoch;
# here it starts at epoch 5 and steps every iteration.
max_lr, min_lr, warmup_lr = 1.6e-3, 1e-5, 1e-6
warmup_epochs, cosine_epochs, cooldown_epochs = 5, 300, 10
steps_per_epoch = 1252  # 1,281,167 images / 1024

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=max_lr, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)},
    ),
)
# Ratios, not rates: --auto-scale-lr multiplies max_lr by batch / 1024, and with it the start and the floor.
param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=warmup_lr / max_lr,
        by_epoch=True,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingLR",
        eta_min_ratio=min_lr / max_lr,
        by_epoch=True,
        begin=warmup_epochs,
        end=cosine_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=cosine_epochs + cooldown_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
# Released decay 0.99992 for 310 x 1252 = 388,120 steps; a run of another length averages over the same share of its
# steps, 3.2 %. Buffers are averaged too, as timm's ModelEma does.
custom_hooks = [
    dict(
        type="mmtl.ScaledEMAHook",
        momentum=8e-5,
        base_steps=(cosine_epochs + cooldown_epochs) * steps_per_epoch,
        update_buffers=True,
        priority="ABOVE_NORMAL",
    )
]
auto_scale_lr = dict(enable=False, base_batch_size=1024)
