# AdamW without weight decay for norms, biases and embeddings, and a validation after every epoch. A recipe adds the
# learning rate and the length.
optim_wrapper = dict(
    optimizer=dict(type="AdamW", weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)},
    ),
)
train_cfg = dict(by_epoch=True, val_interval=1)
val_cfg = dict()
test_cfg = dict()
