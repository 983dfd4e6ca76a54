# Phase 1 of self-emerging token labels: LV-ViT-S learns to label its own patch tokens, from class labels only. The
# class token and the mean of the patch tokens are both trained on the class label.
#
# Paper:     Fully Attentional Networks with Self-emerging Token Labeling, ICCV 2023, arXiv 2401.03844; departures in
#            docs/online_annotator.md
# Command:   mim train mmpretrain configs/token_labeling/lvvit-small_8xb128-tokenlabeler-300e_in1k.py
#            --launcher pytorch --gpus 8
#            --cfg-options compile=True optim_wrapper.type=mmtl.BFloat16OptimWrapper
# Batch:     8 GPUs x 128 = 1024 images, lr 1.6e-3; the rest as LV-ViT-S
# Length:    300 epochs + 10 at the floor = 310 x 1251 (1,281,167 images / 1024) = 387,810 steps
# Measured:  not yet run
_base_ = "../lvvit/lvvit-small_8xb128-tokenlabel-300e_in1k.py"
score_maps = None
train_steps = _base_.train_steps
del train_steps["load_score_map"]
train_pipeline = list(train_steps.values())
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# A patch token alone does not know the image's class, so predictions do not contain the patches' maximum.
model = dict(head=dict(patch_target="label", predict_weight=0.0))
