# Token labels and MixToken on CIFAR-10, with MixToken on every batch.
#
# Command:   mim train mmpretrain configs/examples/lvvit-nano_1xb128-tokenlabel-mixtoken-3e_cifar10.py --gpus 0
# Needs:     data/cifar10 and work_dirs/cifar10/score_maps (docs/own_data.md shows how to make them)
# Batch:     1 CPU x 128 images, lr 2e-3
# Length:    3 epochs x 25000 / 128 images = 588 steps
# Measured:  docs/benchmarks.md
_base_ = ["lvvit-nano_1xb128-tokenlabel-3e_cifar10.py"]
work_dir = "work_dirs/cifar10/token_labels_mixtoken"
model = dict(data_preprocessor=dict(batch_augments=dict(augments=[dict(type="mmtl.MixToken")])))
