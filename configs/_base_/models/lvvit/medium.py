# LV-ViT-M for ImageNet (paper, table 1; drop path of the released command), 55.83M parameters.
model = dict(
    type="mmtl.TokenLabelClassifier",
    backbone=dict(type="mmtl.LVViT", arch="medium", img_size=224, drop_path_rate=0.2),
    head=dict(type="mmtl.TokenLabelHead", num_classes=1000, in_channels=512),
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        smoothing=0.1,
        batch_augments=dict(augments=[dict(type="mmtl.MixToken")]),
    ),
)
