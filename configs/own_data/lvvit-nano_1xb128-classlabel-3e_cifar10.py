# What token labels are compared with: the same model and recipe on class labels alone.
#
# Command:   mim train mmpretrain configs/own_data/lvvit-nano_1xb128-classlabel-3e_cifar10.py --gpus 0
# Measured:  docs/own_data.md
_base_ = ["lvvit-nano_1xb128-tokenlabel-3e_cifar10.py"]
work_dir = "work_dirs/cifar10/class_labels"
score_maps = None

train_steps = _base_.train_steps
del train_steps["load_score_map"]
train_pipeline = list(train_steps.values())
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(head=dict(beta=0.0))
