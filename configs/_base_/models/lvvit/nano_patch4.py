# A nano LV-ViT for small images on a CPU (not in the paper): patches of 4 pixels, 0.4 M parameters.
nano = dict(
    type="mmtl.LVViT",
    arch=dict(
        embed_dims=96,
        num_layers=4,
        num_heads=3,
        feedforward_channels=288,
        stem_channels=32,
        residual_divisor=2,
    ),
    img_size=32,
    patch_size=4,
)
