# LV-ViT-L on ImageNet at 224 x 224: the recipe of LV-ViT-S with lr 1e-3, drop path 0.3, three RandAugment
# policies, validation on the whole image (crop 1.0). The start of the fine-tuning at 448 and 512; no accuracy is
# quoted. Not yet run.
#
# Command:  mim train mmpretrain configs/lvvit/lvvit-large_8xb128-tokenlabel-300e_in1k.py
#           --launcher pytorch --gpus 8 --amp
_base_ = ["lvvit-medium_8xb128-tokenlabel-300e_in1k.py"]
model = dict(backbone=dict(arch="large", drop_path_rate=0.3), head=dict(in_channels=768))

train_pipeline = _base_.train_pipeline
train_pipeline[4].update(num_policies=3)  # RandAugment
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

max_lr = 1e-3
optim_wrapper = dict(optimizer=dict(lr=max_lr))
param_scheduler = [dict(_base_.param_scheduler[0], start_factor=1e-6 / max_lr), _base_.param_scheduler[1]]
