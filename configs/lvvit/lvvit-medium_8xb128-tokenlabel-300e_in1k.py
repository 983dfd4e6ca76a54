# LV-ViT-M on ImageNet at 224 x 224: the recipe of LV-ViT-S, drop path 0.2, validation on the whole image
# (crop 1.0).
# Quoted: 84.0 % top-1 (paper). Not yet run.
#
# Command:  mim train mmpretrain configs/lvvit/lvvit-medium_8xb128-tokenlabel-300e_in1k.py
#           --launcher pytorch --gpus 8 --amp
_base_ = [
    "../_base_/models/lvvit/medium.py",
    "../_base_/datasets/imagenet_score_maps.py",
    "../_base_/schedules/imagenet_bs1024_adamw_300e.py",
    "../_base_/pretrain_runtime.py",
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeEdge", scale=224, edge="short", backend="pillow", interpolation="bicubic"),
    dict(type="CenterCrop", crop_size=224),
    dict(type="PackInputs"),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
