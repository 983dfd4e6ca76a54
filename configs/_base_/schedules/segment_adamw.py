# AdamW without weight decay for norms and embeddings, a warm-up and a linear decay to 0. A recipe adds the learning
# rate and the length. For bfloat16 see adamw_by_epoch.py.
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="mmtl.MergedOptimWrapperConstructor",
    optimizer=dict(type="AdamW", weight_decay=0.01, fused=True),
    paramwise_cfg=dict(
        custom_keys={
            "pos_embed": dict(decay_mult=0.0),
            "cls_token": dict(decay_mult=0.0),
            "norm": dict(decay_mult=0.0),
        }
    ),
)
warmup = dict(type="LinearLR", by_epoch=False, begin=0)
decay = dict(type="PolyLR", eta_min=0.0, power=1.0, by_epoch=False)
train_cfg = dict(type="IterBasedTrainLoop")
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
