# VOLO-D1 on ImageNet, fine-tuned at 384 x 384 from 224 x 224. Validation: the full image (crop 1.0, as timm tests the
# released weights).
#
# Paper:     VOLO: Vision Outlooker for Visual Recognition, arXiv 2106.13112
# Source:    released command (sail-sg/volo, README)
# Command:   mim train mmpretrain configs/token_labeling/volo-d1_8xb64-tokenlabel-30e_in1k-384px.py
#            --launcher pytorch --gpus 8
#            --cfg-options compile=True optim_wrapper.type=mmtl.BFloat16OptimWrapper
#            load_from=work_dirs/volo-d1_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 64 = 512 images, lr 8e-6
# Length:    30 epochs + 10 at the floor = 40 x 2502 (1,281,167 images / 512) = 100,080 steps
# Quoted:    85.2 % top-1 (README of the released code)
# Measured:  not yet run
_base_ = ["../_base_/datasets/imagenet_score_maps_384px.py", "../_base_/volo_finetune_in1k.py"]
model = dict(backbone=dict(arch="d1", img_size=384, drop_path_rate=0.1), head=dict(in_channels=384))
auto_scale_lr = dict(base_batch_size=512)
