# The released AdamW settings, and the weight average of the pretraining (`ema`, which a schedule may add). A schedule
# adds the learning rate and the length.
_base_ = "adamw_by_epoch.py"
optim_wrapper = dict(type="OptimWrapper", paramwise_cfg=dict(flat_decay_mult=0.0))
# The released decay of 0.99992 belongs to `base_steps`; a run of another length averages over the same share of its
# steps. Buffers are averaged too, as timm's ModelEma does.
ema = dict(type="mmtl.ScaledEMAHook", momentum=8e-5, update_buffers=True, priority="ABOVE_NORMAL")
auto_scale_lr = dict(enable=False)
