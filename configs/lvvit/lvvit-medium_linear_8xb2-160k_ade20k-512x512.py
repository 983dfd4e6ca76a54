# Segmenter's linear head on LV-ViT-M for ADE20K at 512 x 512, after S's recipe. Not yet run.
_base_ = ["./lvvit-small_linear_8xb2-160k_ade20k-512x512.py"]
model = dict(
    backbone=dict(arch="medium", drop_path_rate=0.2),
    decode_head=dict(in_channels=512, channels=512),
)
