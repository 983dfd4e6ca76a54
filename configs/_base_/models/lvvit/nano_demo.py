# A nano LV-ViT for the demo's 8 classes and 64 x 80 images: 8 x 10 tokens of 8 x 8 pixels, 0.4M parameters.
nano = dict(
    type="mmtl.LVViT",
    arch=dict(
        embed_dims=96,
        num_layers=4,
        num_heads=3,
        feedforward_channels=288,
        stem_channels=16,
        residual_divisor=1,
    ),
    img_size=(64, 80),
    patch_size=8,
)
