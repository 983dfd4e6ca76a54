# LV-ViT-M for ImageNet (paper, table 1; drop path of the released command), 55.83M parameters.
_base_ = "../token_labeling.py"
model = dict(
    backbone=dict(type="mmtl.LVViT", arch="medium", img_size=224, drop_path_rate=0.2),
    head=dict(in_channels=512),
)
