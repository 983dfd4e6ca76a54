# VOLO-D2 on ImageNet at 224 x 224 with token labels and MixToken: the 28 x 28 tokens of stage 1 are mixed by a box of
# the 14 x 14 grid, which is that of the labels.
#
# Paper:     VOLO: Vision Outlooker for Visual Recognition, arXiv 2106.13112
# Source:    released command (sail-sg/volo, README)
# Command:   mim train mmpretrain configs/token_labeling/volo-d2_8xb128-tokenlabel-300e_in1k.py
#            --launcher pytorch --gpus 8
#            --cfg-options compile=True optim_wrapper.type=mmtl.BFloat16OptimWrapper
# Batch:     8 GPUs x 128 = 1024 images, lr 1e-3
# Length:    300 epochs + 10 at the floor = 310 x 1251 (1,281,167 images / 1024) = 387,810 steps
# Quoted:    85.2 % top-1 (README of the released code)
# Measured:  not yet run; 58.7 M parameters with both heads
_base_ = "../_base_/volo_in1k.py"
model = dict(backbone=dict(arch="d2", drop_path_rate=0.2), head=dict(in_channels=512))
