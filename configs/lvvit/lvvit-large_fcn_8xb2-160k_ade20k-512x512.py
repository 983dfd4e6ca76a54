# FCN on LV-ViT-L for ADE20K at 512 x 512, after S's recipe. Not yet run.
_base_ = ["./lvvit-small_fcn_8xb2-160k_ade20k-512x512.py"]
model = dict(
    backbone=dict(arch="large", out_indices=(14, 17, 20, 23), drop_path_rate=0.3),
    neck=dict(in_channels=768),
    decode_head=dict(channels=512),
    auxiliary_head=dict(in_channels=768, channels=512),
)
