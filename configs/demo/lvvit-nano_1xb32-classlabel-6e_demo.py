# The baseline of token labels: the same nano LV-ViT and recipe, trained on class labels only, without MixToken.
#
# Command:   mim train mmpretrain configs/demo/lvvit-nano_1xb32-classlabel-6e_demo.py --gpus 0
# Batch:     1 CPU x 32 images, lr 1e-3
# Length:    6 epochs x 3000 / 32 images = 564 steps
# Measured:  `mmtl demo` runs it and reports the result
_base_ = ["lvvit-nano_1xb32-tokenlabel-6e_demo.py"]
work_dir = "work_dirs/demo/class_labels"
score_maps = None

train_steps = _base_.train_steps
del train_steps["load_score_map"]
train_pipeline = list(train_steps.values())
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(head=dict(beta=0.0), data_preprocessor=dict(batch_augments=None))
