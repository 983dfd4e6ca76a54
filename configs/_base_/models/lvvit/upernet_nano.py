# UperNet on a pretrained nano LV-ViT with a plain pyramid; a recipe adds the backbone's size and the classes.
_base_ = "../upernet.py"
norm_cfg = dict(type="BN")
model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3), init_cfg=dict(type="Pretrained", prefix="backbone.")),
    neck=dict(type="Feature2Pyramid", embed_dim=96, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=4 * [96], channels=32, norm_cfg=norm_cfg),
    test_cfg=dict(mode="whole"),
)
