# What token labels are compared with: the same nano LV-ViT and recipe, trained on class labels alone, no MixToken.
#
# Command:  mim train mmpretrain configs/demo/lvvit-nano_1xb32-classlabel-6e_demo.py --gpus 0
_base_ = ["lvvit-nano_1xb32-tokenlabel-6e_demo.py"]
work_dir = "work_dirs/demo/class_labels"
score_maps = None

train_steps = _base_.train_steps
del train_steps["load_score_map"]
train_pipeline = list(train_steps.values())
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(head=dict(beta=0.0), data_preprocessor=dict(batch_augments=None))
