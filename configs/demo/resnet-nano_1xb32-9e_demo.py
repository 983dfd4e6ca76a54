# The demo's annotator: a small CNN that predicts at 8 x 10 positions of an image.
#
# Command:   mim train mmpretrain configs/demo/resnet-nano_1xb32-9e_demo.py --gpus 0
# Batch:     1 CPU x 32 images, lr 4e-3
# Length:    9 epochs x 3000 / 32 images = 846 steps
# Measured:  `mmtl demo` runs it and reports the result
_base_ = [
    "../_base_/pretrain_runtime.py",
    "../_base_/datasets/demo_classification.py",
    "../_base_/schedules/adamw_by_epoch.py",
]
work_dir = "work_dirs/demo/annotator"

model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(num_classes=_base_.num_classes, mean=_base_.mean_rgb, std=_base_.std_rgb, to_rgb=True),
    backbone=dict(
        type="ResNet",
        depth=18,
        num_stages=2,  # two of four: positions that see the full image all predict the same
        strides=(1, 2),  # after the stem's stride of 4: 64 x 80 pixels -> 8 x 10 positions
        dilations=(1, 1),
        out_indices=(1,),
        stem_channels=24,
        base_channels=24,
        zero_init_residual=False,  # learns sooner in so few steps
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=_base_.num_classes, in_channels=48),
)

epochs, warmup_epochs = 9, 3
optim_wrapper = dict(_delete_=True, optimizer=dict(type="AdamW", lr=4e-3, weight_decay=0.05))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.04, end=warmup_epochs, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=warmup_epochs, end=epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=epochs, val_interval=3)
