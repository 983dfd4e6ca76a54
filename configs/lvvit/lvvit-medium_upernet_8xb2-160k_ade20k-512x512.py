# UperNet on LV-ViT-M for ADE20K at 512 x 512, as lvvit-small_upernet_8xb2-160k_ade20k-512x512.py.
# Quoted: 49.4 mIoU, 50.6 with multi-scale and flip (paper). Not yet run.
_base_ = "lvvit-small_upernet_8xb2-160k_ade20k-512x512.py"
model = dict(
    backbone=dict(arch="medium", out_indices=(10, 13, 16, 19), drop_path_rate=0.2),
    neck=dict(in_channels=512),
    decode_head=dict(in_channels=[512, 512, 512, 2048]),
    auxiliary_head=dict(in_channels=512),
)
