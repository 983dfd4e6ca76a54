# The nano LV-ViT of the demo: 64 x 80 pixels make 8 x 10 tokens.
_base_ = "nano.py"
nano = dict(arch=dict(stem_channels=16, residual_divisor=1), img_size=(64, 80), patch_size=8)
