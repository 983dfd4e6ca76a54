"""The text of a classification config: LV-ViT with one block of 8 channels, for three classes."""


def config_text(img_size: int) -> str:
    """Return the config for images of this side, in 2 x 2 patches."""
    return f"""
default_scope = "mmpretrain"
model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(mean=[0, 0, 0], std=[255, 255, 255], to_rgb=False),
    backbone=dict(type="mmtl.LVViT", arch=dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8,
        stem_channels=None, residual_divisor=1), img_size={img_size}, patch_size={img_size // 2}),
    head=dict(type="mmtl.TokenLabelHead", num_classes=3, in_channels=8),
)
test_dataloader = dict(
    dataset=dict(
        type="CustomDataset",
        pipeline=[dict(type="LoadImageFromFile"), dict(type="Resize", scale={img_size}), dict(type="PackInputs")],
    )
)
"""
