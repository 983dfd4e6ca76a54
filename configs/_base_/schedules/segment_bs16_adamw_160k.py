# Released config: AdamW 6e-5, linear to 0 over the run and multiplied by a warm-up of 1500 iterations. The batch of 16
# is the usual one on ADE20K: the released configs of S and M inherit 4 images per GPU, L has 2, and the number of GPUs
# is not released.
_base_ = "segment_adamw.py"
max_iters = 160000
optim_wrapper = dict(optimizer=dict(lr=6e-5))
warmup = dict(_base_.warmup, start_factor=1e-6, end=1500)
decay = dict(_base_.decay, begin=0, end=max_iters)
param_scheduler = [warmup, decay]
train_cfg = dict(max_iters=max_iters, val_interval=16000)
auto_scale_lr = dict(enable=False, base_batch_size=16)
