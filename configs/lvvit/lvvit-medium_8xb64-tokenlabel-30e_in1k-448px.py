# LV-ViT-M on ImageNet, fine-tuned at 448 x 448 from 224 x 224. Validation: the full image (crop 1.0).
#
# Paper:     All Tokens Matter, arXiv 2104.10858
# Command:   mim train mmpretrain configs/lvvit/lvvit-medium_8xb64-tokenlabel-30e_in1k-448px.py
#            --launcher pytorch --gpus 8
#            --cfg-options compile=True optim_wrapper.type=mmtl.BFloat16OptimWrapper
#            load_from=work_dirs/lvvit-medium_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 64 = 512 images, lr 5e-6
# Length:    30 epochs = 30 x 2502 (1,281,167 images / 512) = 75,060 steps
# Quoted:    85.5 % top-1 (paper)
# Measured:  not yet run
_base_ = [
    "../_base_/models/lvvit/medium.py",
    "../_base_/datasets/imagenet_score_maps_448px.py",
    "../_base_/finetune_in1k.py",
]
model = dict(backbone=dict(img_size=448))
