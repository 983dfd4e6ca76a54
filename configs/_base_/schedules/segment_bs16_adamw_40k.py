# The schedule of 160k iterations over 40k, for Pascal VOC.
_base_ = "segment_bs16_adamw_160k.py"
max_iters = 40000
param_scheduler = [_base_.warmup, dict(_base_.decay, end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=4000)
