# LV-ViT-T for ImageNet (paper, table 1), 8.53M parameters. The paper does not state its drop path; 0.1 is that of S.
_base_ = "../token_labeling.py"
model = dict(
    backbone=dict(type="mmtl.LVViT", arch="tiny", img_size=224, drop_path_rate=0.1),
    head=dict(in_channels=240),
)
