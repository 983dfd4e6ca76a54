# The baseline of token labels: the same model and recipe on class labels only.
#
# Command:   mim train mmpretrain configs/examples/lvvit-nano_1xb128-classlabel-3e_cifar10.py --gpus 0
# Batch:     1 CPU x 128 images, lr 2e-3
# Length:    3 epochs x 25000 / 128 images = 588 steps
# Measured:  docs/benchmarks.md
_base_ = ["lvvit-nano_1xb128-tokenlabel-3e_cifar10.py"]
work_dir = "work_dirs/cifar10/class_labels"
score_maps = None

train_steps = _base_.train_steps
del train_steps["load_score_map"]
train_pipeline = list(train_steps.values())
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(head=dict(beta=0.0))
