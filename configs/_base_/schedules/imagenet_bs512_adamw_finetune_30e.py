# Fine-tuning at a larger image size, released values for S at 384: AdamW, constant 5e-6 for a batch of
# 512, weight
# decay 1e-8. The length is our choice: the released command does not set it.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=5e-6, weight_decay=1e-8))
param_scheduler = []
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
val_cfg = dict()
test_cfg = dict()
custom_hooks = [dict(type="EMAHook", momentum=8e-5, update_buffers=True, priority="ABOVE_NORMAL")]
auto_scale_lr = dict(base_batch_size=512)
