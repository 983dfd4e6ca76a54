# A nano LV-ViT for small images on a CPU (not in the paper), 0.4M parameters.
nano = dict(
    type="mmtl.LVViT",
    arch=dict(embed_dims=96, num_layers=4, num_heads=3, feedforward_channels=288),
)
