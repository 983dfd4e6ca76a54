# AdamW without weight decay for norms, biases and embeddings, and a validation after every epoch. A recipe adds the
# learning rate and the length.
#
# Mixed precision: `--cfg-options optim_wrapper.type=mmtl.BFloat16OptimWrapper`, or `--amp` for float16 with a gradient
# scaler, which waits for the device in every iteration.
optim_wrapper = dict(
    # Two parameter groups, with decay and without, and one fused update of all their parameters.
    constructor="mmtl.MergedOptimWrapperConstructor",
    optimizer=dict(type="AdamW", weight_decay=0.05, fused=True),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)},
    ),
)
train_cfg = dict(by_epoch=True, val_interval=1)
val_cfg = dict()
test_cfg = dict()
