# Phase 1 of self-emerging token labels on the demo's dataset: a nano LV-ViT learns to label its own patch tokens, from
# class labels only.
#
# Command:   mim train mmpretrain configs/demo/lvvit-nano_1xb32-tokenlabeler-6e_demo.py --gpus 0
# Batch:     1 CPU x 32 images, lr 1e-3
# Length:    6 epochs x 3000 / 32 images = 564 steps
# Measured:  not yet run at this length
_base_ = ["lvvit-nano_1xb32-tokenlabel-6e_demo.py"]
work_dir = "work_dirs/demo/token_labeler"
score_maps = None

train_steps = _base_.train_steps
del train_steps["load_score_map"]
train_pipeline = list(train_steps.values())
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(head=dict(patch_target="label"))
