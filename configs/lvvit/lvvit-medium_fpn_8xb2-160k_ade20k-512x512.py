# Semantic FPN on LV-ViT-M for ADE20K at 512 x 512, after S's recipe. Not yet run.
_base_ = "lvvit-small_fpn_8xb2-160k_ade20k-512x512.py"
model = dict(
    backbone=dict(arch="medium", out_indices=(10, 13, 16, 19), drop_path_rate=0.2),
    neck=[dict(_base_.pyramid, embed_dim=512), dict(_base_.fpn, in_channels=4 * [512])],
)
