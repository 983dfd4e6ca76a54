# Class labels and CutMix on CIFAR-10: the mixing of pixels that MixToken is compared with.
#
# Command:   mim train mmpretrain configs/examples/lvvit-nano_1xb128-classlabel-cutmix-3e_cifar10.py --gpus 0
# Batch:     1 CPU x 128 images, lr 2e-3
# Length:    3 epochs x 25000 / 128 images = 588 steps
# Measured:  docs/benchmarks.md
_base_ = ["lvvit-nano_1xb128-classlabel-3e_cifar10.py"]
work_dir = "work_dirs/cifar10/class_labels_cutmix"
model = dict(data_preprocessor=dict(batch_augments=dict(augments=[dict(type="CutMix", alpha=1.0)])))
