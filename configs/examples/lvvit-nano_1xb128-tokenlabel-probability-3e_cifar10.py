# Token labels on CIFAR-10 with the annotator's true probabilities in place of the published zero logits.
#
# Command:   mim train mmpretrain configs/examples/lvvit-nano_1xb128-tokenlabel-probability-3e_cifar10.py --gpus 0
# Needs:     data/cifar10 and work_dirs/cifar10/score_maps (docs/own_data.md shows how to make them)
# Batch:     1 CPU x 128 images, lr 2e-3
# Length:    3 epochs x 25000 / 128 images = 588 steps
# Measured:  docs/benchmarks.md
_base_ = ["lvvit-nano_1xb128-tokenlabel-3e_cifar10.py"]
work_dir = "work_dirs/cifar10/token_labels_probability"
model = dict(data_preprocessor=dict(tail="probability"))
