# LV-ViT-L on ImageNet, fine-tuned at 512 x 512 from 224 x 224. Validation: the whole image (crop 1.0).
#
# Paper:     All Tokens Matter, arXiv 2104.10858
# Command:   mim train mmpretrain configs/lvvit/lvvit-large_8xb64-tokenlabel-30e_in1k-512px.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/lvvit-large_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 64 = 512 images, lr 5e-6
# Length:    30 epochs = 30 x 2503 (1,281,167 images / 512) = 75,090 steps
# Quoted:    86.4 % top-1 (paper)
# Measured:  not yet run
_base_ = [
    "../_base_/models/lvvit/large.py",
    "../_base_/datasets/imagenet_score_maps.py",
    "../_base_/schedules/imagenet_bs512_adamw_finetune_30e.py",
    "../_base_/pretrain_runtime.py",
]
img_size = 512
model = dict(backbone=dict(img_size=img_size))

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=img_size)
train_pipeline[4].update(num_policies=3)  # RandAugment, as in the pretraining
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=img_size)
test_pipeline[2].update(crop_size=img_size)
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
