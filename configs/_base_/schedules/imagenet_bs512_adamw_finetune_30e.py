# Fine-tuning at a larger image size, released values for S at 384: AdamW, constant 5e-6 for a batch of 512, weight
# decay 1e-8. Ours: the length (the released command leaves it at 300 epochs), and no warm-up (there: 5 epochs from
# 1e-6). The released decay of the average, 0.99992, then covers 12,500 of the 30 x 2503 steps.
epochs, steps_per_epoch = 30, 2503  # 1,281,167 images / 512

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=5e-6, weight_decay=1e-8),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)},
    ),
)
param_scheduler = []
train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
custom_hooks = [
    dict(
        type="mmtl.ScaledEMAHook",
        momentum=8e-5,
        base_steps=epochs * steps_per_epoch,
        update_buffers=True,
        priority="ABOVE_NORMAL",
    )
]
auto_scale_lr = dict(enable=False, base_batch_size=512)
