# LV-ViT-S on ImageNet at 224 x 224 with token labels of the paper's annotator, NFNet-F6 at 576 x 576, which labels
# every batch in the training step: no score map store, and labels of the crop that the student sees.
#
# Paper:     All Tokens Matter, arXiv 2104.10858, whose labels are of full images, stored before training
# Command:   mim train mmpretrain configs/lvvit/lvvit-small_8xb128-tokenlabel-online-300e_in1k.py
#            --launcher pytorch --gpus 8
#            --cfg-options compile=True optim_wrapper.type=mmtl.BFloat16OptimWrapper
# Needs:     timm; another annotator: --cfg-options model.annotator.model=timm/NAME (docs/online_annotator.md)
# Batch:     8 GPUs x 128 = 1024 images, lr 1.6e-3 (with another batch add --auto-scale-lr)
# Length:    300 epochs + 10 at the floor = 310 x 1251 (1,281,167 images / 1024) = 387,810 steps
# Measured:  not yet run
_base_ = "lvvit-small_8xb128-tokenlabel-300e_in1k.py"
model = dict(annotator=dict(model="timm/dm_nfnet_f6", checkpoint="pretrained", topk=5, channels_last=True))
