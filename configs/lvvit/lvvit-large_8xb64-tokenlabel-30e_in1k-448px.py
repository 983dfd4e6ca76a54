# LV-ViT-L on ImageNet, fine-tuned at 448 x 448 from 224 x 224. Validation: the full image (crop 1.0).
#
# Paper:     All Tokens Matter, arXiv 2104.10858
# Command:   mim train mmpretrain configs/lvvit/lvvit-large_8xb64-tokenlabel-30e_in1k-448px.py
#            --launcher pytorch --gpus 8
#            --cfg-options compile=True optim_wrapper.type=mmtl.BFloat16OptimWrapper
#            load_from=work_dirs/lvvit-large_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 64 = 512 images, lr 5e-6
# Length:    30 epochs = 30 x 2502 (1,281,167 images / 512) = 75,060 steps
# Quoted:    86.2 % top-1 (paper)
# Measured:  not yet run
_base_ = [
    "../_base_/models/lvvit/large.py",
    "../_base_/datasets/imagenet_score_maps_448px.py",
    "../_base_/finetune_in1k.py",
]
train_steps = _base_.train_steps
train_steps.rand_augment.update(num_policies=3)  # as in the pretraining
train_pipeline = list(train_steps.values())
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(backbone=dict(img_size=448))
