# Paper and released config: AdamW 6e-5 for a batch of 16, 1500 iterations of warm-up, then linear to 0.
_base_ = "segment_adamw.py"
max_iters = 160000
optim_wrapper = dict(optimizer=dict(lr=6e-5))
warmup = dict(_base_.warmup, start_factor=1e-6, end=1500)
decay = dict(_base_.decay, begin=1500, end=max_iters)
param_scheduler = [warmup, decay]
train_cfg = dict(max_iters=max_iters, val_interval=16000)
auto_scale_lr = dict(enable=False, base_batch_size=16)
