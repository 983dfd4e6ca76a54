# The nano LV-ViT for CIFAR-10: 32 x 32 pixels make 8 x 8 tokens.
_base_ = "nano.py"
nano = dict(arch=dict(stem_channels=32, residual_divisor=2), img_size=32, patch_size=4)
