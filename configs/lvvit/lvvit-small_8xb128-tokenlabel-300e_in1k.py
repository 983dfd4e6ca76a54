# LV-ViT-S on ImageNet at 224 x 224 with token labels and MixToken.
#
# Paper:     All Tokens Matter: Token Labeling for Training Better Vision Transformers, NeurIPS 2021,
#            arXiv 2104.10858
# Command:   mim train mmpretrain configs/lvvit/lvvit-small_8xb128-tokenlabel-300e_in1k.py
#            --launcher pytorch --gpus 8
#            --cfg-options compile=True optim_wrapper.type=mmtl.BFloat16OptimWrapper
# Batch:     8 GPUs x 128 = 1024 images, lr 1.6e-3 (with another batch add --auto-scale-lr)
# Length:    300 epochs + 10 at the floor = 310 x 1251 (1,281,167 images / 1024) = 387,810 steps
# Quoted:    83.3 % top-1 (paper)
# Measured:  not yet run
_base_ = [
    "../_base_/models/lvvit/small.py",
    "../_base_/datasets/imagenet_score_maps.py",
    "../_base_/schedules/imagenet_bs1024_adamw_300e.py",
    "../_base_/pretrain_runtime.py",
]
