# Nano LV-ViT on CIFAR-10 with token labels: a worked example of training on your own folders of images.
#
# Command:   mim train mmpretrain configs/own_data/lvvit-nano_1xb128-tokenlabel-3e_cifar10.py --gpus 0
# Needs:     data/cifar10 and work_dirs/cifar10/score_maps (docs/own_data.md shows how they are made)
# Length:    3 epochs x 25000 / 128 images = 588 steps
# Measured:  docs/own_data.md
_base_ = [
    "../_base_/pretrain_runtime.py",
    "../_base_/datasets/cifar10_folders.py",
    "../_base_/models/lvvit/nano_patch4.py",
]
work_dir = "work_dirs/cifar10/token_labels"
score_maps = "work_dirs/cifar10/score_maps"

train_pipeline = [
    dict(type="mmtl.LoadImageFromFile"),
    dict(
        type="mmtl.LoadScoreMap",
        store=score_maps,
        image_root="data/cifar10/train",
        num_classes={{_base_.num_classes}},
    ),
    dict(type="mmtl.RandomResizedCrop", scale={{_base_.img_size}}, crop_ratio_range=(0.5, 1.0)),
    dict(type="mmtl.RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="mmtl.PackTokenLabelInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    type="mmtl.TokenLabelClassifier",
    backbone={{_base_.nano}},
    head=dict(type="mmtl.TokenLabelHead", num_classes={{_base_.num_classes}}, in_channels=96, beta=0.5),
    data_preprocessor=dict(
        mean={{_base_.mean_rgb}},
        std={{_base_.std_rgb}},
        to_rgb=True,
        tail="zero_logit",
        smoothing=0.1,
    ),
)

epochs, max_lr = 3, 2e-3
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=max_lr, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)},
    ),
)
param_scheduler = dict(type="OneCycleLR", eta_max=max_lr, total_steps=epochs, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)
