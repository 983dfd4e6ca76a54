# LV-ViT-S on ImageNet at 224 x 224 with all augmentation in the data-loader workers, by Pillow and OpenCV as OpenMMLab
# does it. Draws and labels are those of the recipe that augments on the device.
#
# Paper:     All Tokens Matter, arXiv 2104.10858
# Command:   mim train mmpretrain configs/lvvit/lvvit-small_8xb128-tokenlabel-workeraugment-300e_in1k.py
#            --launcher pytorch --gpus 8
#            --cfg-options compile=True optim_wrapper.type=mmtl.BFloat16OptimWrapper
# Batch:     8 GPUs x 128 = 1024 images, lr 1.6e-3 (with another batch add --auto-scale-lr)
# Length:    300 epochs + 10 at the floor = 310 x 1251 (1,281,167 images / 1024) = 387,810 steps
# Measured:  not yet run
_base_ = "lvvit-small_8xb128-tokenlabel-300e_in1k.py"
train_steps = _base_.train_steps
train_steps.crop.update(backend="pillow")
train_steps.flip.update(on_device=False)
train_steps.rand_augment.update(on_device=False)
train_steps.erasing.update(on_device=False)
train_pipeline = list(train_steps.values())
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
