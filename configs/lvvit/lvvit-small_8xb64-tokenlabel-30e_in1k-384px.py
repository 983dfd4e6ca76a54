# LV-ViT-S on ImageNet, fine-tuned at 384 x 384 from 224 x 224. Validation: crop 0.9 of the edge, 384 of 426 pixels.
#
# Paper:     All Tokens Matter, arXiv 2104.10858
# Command:   mim train mmpretrain configs/lvvit/lvvit-small_8xb64-tokenlabel-30e_in1k-384px.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/lvvit-small_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 64 = 512 images, lr 5e-6
# Length:    30 epochs = 30 x 2503 (1,281,167 images / 512) = 75,090 steps
# Quoted:    84.4 % top-1 (paper)
# Measured:  not yet run
_base_ = [
    "../_base_/models/lvvit/small.py",
    "../_base_/datasets/imagenet_score_maps.py",
    "../_base_/schedules/imagenet_bs512_adamw_finetune_30e.py",
    "../_base_/pretrain_runtime.py",
]
img_size = 384
model = dict(backbone=dict(img_size=img_size))

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=img_size)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=int(img_size / 0.9))
test_pipeline[2].update(crop_size=img_size)
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
