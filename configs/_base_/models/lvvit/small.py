# LV-ViT-S for ImageNet (paper, table 1; drop path of the released command), 26.15M parameters.
_base_ = "../token_labeling.py"
model = dict(
    backbone=dict(type="mmtl.LVViT", arch="small", img_size=224, drop_path_rate=0.1),
    head=dict(in_channels=384),
)
