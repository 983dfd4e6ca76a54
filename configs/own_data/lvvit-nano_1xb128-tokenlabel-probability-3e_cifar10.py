# Token labels on CIFAR-10 with the annotator's true probabilities in place of the published zero logits.
#
# Command:   mim train mmpretrain configs/own_data/lvvit-nano_1xb128-tokenlabel-probability-3e_cifar10.py --gpus 0
# Measured:  docs/own_data.md
_base_ = ["lvvit-nano_1xb128-tokenlabel-3e_cifar10.py"]
work_dir = "work_dirs/cifar10/token_labels_probability"
model = dict(data_preprocessor=dict(tail="probability"))
