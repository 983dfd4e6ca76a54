# LV-ViT-S on ImageNet, fine-tuned at 384 x 384 from 224 x 224. Validation: crop 0.9 of the edge, 384 of 426 pixels.
#
# Paper:     All Tokens Matter, arXiv 2104.10858
# Command:   mim train mmpretrain configs/lvvit/lvvit-small_8xb64-tokenlabel-30e_in1k-384px.py
#            --launcher pytorch --gpus 8
#            --cfg-options compile=True optim_wrapper.type=mmtl.BFloat16OptimWrapper
#            load_from=work_dirs/lvvit-small_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 64 = 512 images, lr 5e-6
# Length:    30 epochs = 30 x 2502 (1,281,167 images / 512) = 75,060 steps
# Quoted:    84.4 % top-1 (paper)
# Measured:  not yet run
_base_ = [
    "../_base_/models/lvvit/small.py",
    "../_base_/datasets/imagenet_score_maps_384px.py",
    "../_base_/finetune_in1k.py",
]
model = dict(backbone=dict(img_size=384))
test_steps = _base_.test_steps
test_steps.resize.update(scale=int(384 / 0.9))
test_pipeline = list(test_steps.values())
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
