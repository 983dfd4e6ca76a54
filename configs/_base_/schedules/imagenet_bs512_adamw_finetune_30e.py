# Fine-tuning at a larger image size, released values for S at 384: AdamW, constant 5e-6 for a batch of 512, weight
# decay 1e-8. Ours: the length (the released command leaves it at 300 epochs), and no warm-up (there: 5 epochs from
# 1e-6). The released decay of the average, 0.99992, then covers 12,500 of the 30 x 2503 steps.
_base_ = "imagenet_adamw.py"
epochs, steps_per_epoch = 30, 2503  # 1,281,167 images / 512

optim_wrapper = dict(optimizer=dict(lr=5e-6, weight_decay=1e-8))
param_scheduler = []
train_cfg = dict(max_epochs=epochs)
custom_hooks = [dict(_base_.ema, base_steps=epochs * steps_per_epoch)]
auto_scale_lr = dict(base_batch_size=512)
