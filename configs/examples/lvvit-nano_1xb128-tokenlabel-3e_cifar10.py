# Nano LV-ViT on CIFAR-10 with token labels: a worked example of training on your own folders of images.
#
# Command:   mim train mmpretrain configs/examples/lvvit-nano_1xb128-tokenlabel-3e_cifar10.py --gpus 0
# Needs:     data/cifar10 and work_dirs/cifar10/score_maps (docs/own_data.md shows how to make them)
# Batch:     1 CPU x 128 images, lr 2e-3
# Length:    3 epochs x 25000 / 128 images = 588 steps
# Measured:  docs/benchmarks.md
_base_ = [
    "../_base_/pretrain_runtime.py",
    "../_base_/datasets/cifar10_folders.py",
    "../_base_/models/lvvit/nano_patch4.py",
    "../_base_/schedules/adamw_by_epoch.py",
]
work_dir = "work_dirs/cifar10/token_labels"
score_maps = "work_dirs/cifar10/score_maps"

load_score_map = dict(type="mmtl.LoadScoreMap", store=score_maps)
train_steps = dict(
    load_image=_base_.train_steps.load_image,
    load_score_map=dict(load_score_map, num_classes=_base_.num_classes),
    crop=dict(_base_.train_steps.crop, type="mmtl.RandomResizedCrop"),
    flip=dict(_base_.train_steps.flip, type="mmtl.RandomFlip"),
    pack=dict(type="mmtl.PackTokenLabelInputs"),
)
train_pipeline = list(train_steps.values())
train_dataloader = dict(
    collate_fn=dict(type="mmtl.collate_training_batch", num_classes=_base_.num_classes),
    dataset=dict(pipeline=train_pipeline),
)

model = dict(
    type="mmtl.TokenLabelClassifier",
    backbone=_base_.nano,
    head=dict(type="mmtl.TokenLabelHead", num_classes=_base_.num_classes, in_channels=96, beta=0.5),
    data_preprocessor=dict(
        mean=_base_.mean_rgb,
        std=_base_.std_rgb,
        to_rgb=True,
        tail="zero_logit",
        smoothing=0.1,
    ),
)

epochs, max_lr = 3, 2e-3
optim_wrapper = dict(optimizer=dict(lr=max_lr))
param_scheduler = dict(type="OneCycleLR", eta_max=max_lr, total_steps=epochs, convert_to_iter_based=True)
train_cfg = dict(max_epochs=epochs)
auto_scale_lr = dict(base_batch_size=128)
