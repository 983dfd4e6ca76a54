# LV-ViT-L on ImageNet at 448 x 448 from the start: the recipe at 224 x 224 with another image size.
#
# Paper:     All Tokens Matter, arXiv 2104.10858
# Command:   mim train mmpretrain configs/lvvit/lvvit-large_16xb64-tokenlabel-300e_in1k-448px.py
#            --launcher slurm --gpus 16 --gpus-per-node 8 --partition PARTITION --amp
# Batch:     16 GPUs x 64 = 1024 images, lr 1e-3
# Length:    300 epochs + 10 at the floor = 310 x 1252 (1,281,167 images / 1024) = 388,120 steps
# Quoted:    86.2 % top-1 (paper; whether trained so or fine-tuned from 224 is not known to us)
# Measured:  not yet run
_base_ = ["lvvit-large_8xb128-tokenlabel-300e_in1k.py"]
img_size = 448
model = dict(backbone=dict(img_size=img_size))

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=img_size)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=img_size)
test_pipeline[2].update(crop_size=img_size)
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
