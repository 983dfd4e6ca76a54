# LV-ViT-L on ImageNet at 448 x 448 from the start: the recipe at 224 x 224 with another image size.
#
# Paper:     All Tokens Matter, arXiv 2104.10858
# Command:   mim train mmpretrain configs/lvvit/lvvit-large_16xb64-tokenlabel-300e_in1k-448px.py
#            --launcher slurm --gpus 16 --gpus-per-node 8 --partition PARTITION
#            --cfg-options compile=True optim_wrapper.type=mmtl.BFloat16OptimWrapper
# Batch:     16 GPUs x 64 = 1024 images, lr 1e-3
# Length:    300 epochs + 10 at the floor = 310 x 1251 (1,281,167 images / 1024) = 387,810 steps
# Quoted:    86.2 % top-1 (paper, which does not state whether it was trained so or fine-tuned from 224)
# Measured:  not yet run
_base_ = [
    "../_base_/models/lvvit/large.py",
    "../_base_/datasets/imagenet_score_maps_448px.py",
    "../_base_/schedules/imagenet_bs1024_adamw_300e_lr1e-3.py",
    "../_base_/pretrain_runtime.py",
]
train_steps = _base_.train_steps
train_steps.rand_augment.update(num_policies=3)
train_pipeline = list(train_steps.values())
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(backbone=dict(img_size=448))
