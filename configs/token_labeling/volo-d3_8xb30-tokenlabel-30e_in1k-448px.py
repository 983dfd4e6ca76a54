# VOLO-D3 on ImageNet, fine-tuned at 448 x 448 from 224 x 224. Validation: the full image (crop 1.0, as timm tests the
# released weights).
#
# Paper:     VOLO: Vision Outlooker for Visual Recognition, arXiv 2106.13112
# Source:    released command (sail-sg/volo, README)
# Command:   mim train mmpretrain configs/token_labeling/volo-d3_8xb30-tokenlabel-30e_in1k-448px.py
#            --launcher pytorch --gpus 8
#            --cfg-options compile=True optim_wrapper.type=mmtl.BFloat16OptimWrapper
#            load_from=work_dirs/volo-d3_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 30 = 240 images, lr 8e-6
# Length:    30 epochs + 10 at the floor = 40 x 5338 (1,281,167 images / 240) = 213,520 steps
# Quoted:    86.3 % top-1 (README of the released code)
# Measured:  not yet run
_base_ = ["../_base_/datasets/imagenet_score_maps_448px.py", "../_base_/volo_finetune_in1k.py"]
train_dataloader = dict(batch_size=30)
model = dict(backbone=dict(arch="d3", img_size=448, drop_path_rate=0.5), head=dict(in_channels=512))
auto_scale_lr = dict(base_batch_size=240)
