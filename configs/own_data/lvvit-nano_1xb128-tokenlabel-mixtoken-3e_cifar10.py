# Token labels and MixToken on CIFAR-10: the example of token labels with MixToken on every batch.
#
# Command:   mim train mmpretrain configs/own_data/lvvit-nano_1xb128-tokenlabel-mixtoken-3e_cifar10.py --gpus 0
# Measured:  docs/own_data.md
_base_ = ["lvvit-nano_1xb128-tokenlabel-3e_cifar10.py"]
work_dir = "work_dirs/cifar10/token_labels_mixtoken"
model = dict(data_preprocessor=dict(batch_augments=dict(augments=[dict(type="mmtl.MixToken")])))
