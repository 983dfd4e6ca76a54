# UperNet with the plain pyramid on LV-ViT-L for ADE20K at 512 x 512, after S's recipe. Not yet run.
_base_ = "lvvit-large_upernet_8xb2-160k_ade20k-512x512.py"
pyramid = dict(type="Feature2Pyramid", embed_dim=768, rescales=[4, 2, 1, 0.5], norm_cfg=_base_.norm_cfg)
model = dict(neck=dict(pyramid, _delete_=True), decode_head=dict(in_channels=4 * [768]))
