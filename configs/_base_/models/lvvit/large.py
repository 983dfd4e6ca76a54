# LV-ViT-L for ImageNet (paper, table 1; drop path of the released command), 150.47M parameters at 448 x 448.
_base_ = "../token_labeling.py"
model = dict(
    backbone=dict(type="mmtl.LVViT", arch="large", img_size=224, drop_path_rate=0.3),
    head=dict(in_channels=768),
)
