# LV-ViT-T on ImageNet at 224 x 224: the recipe of LV-ViT-S. Quoted: 79.1 % top-1 (paper). Not
# yet run.
#
# Command:  mim train mmpretrain configs/lvvit/lvvit-tiny_8xb128-tokenlabel-300e_in1k.py
#           --launcher pytorch --gpus 8 --amp
_base_ = [
    "../_base_/models/lvvit/tiny.py",
    "../_base_/datasets/imagenet_score_maps.py",
    "../_base_/schedules/imagenet_bs1024_adamw_300e.py",
    "../_base_/pretrain_runtime.py",
]
