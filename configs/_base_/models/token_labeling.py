# An ImageNet classifier that learns from token labels and MixToken; a backbone adds itself and head.in_channels.
model = dict(
    type="mmtl.TokenLabelClassifier",
    head=dict(type="mmtl.TokenLabelHead", num_classes=1000),
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        smoothing=0.1,
        batch_augments=dict(augments=[dict(type="mmtl.MixToken")]),
    ),
)
