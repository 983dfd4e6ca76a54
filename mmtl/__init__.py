"""Token labeling, MixToken and LV-ViT for MMPretrain and MMSegmentation."""

__version__ = "0.1.0"
