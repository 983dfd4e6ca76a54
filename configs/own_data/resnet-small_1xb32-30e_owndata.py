# A CNN trained from scratch on your own images: the annotator if no pretrained classifier is at hand.
#
# Made by:   mmtl start FOLDER --teacher cnn, which fills in the first block; or copy this file and change it
# Command:   mmtl train configs/own_data/resnet-small_1xb32-30e_owndata.py
# Batch:     1 GPU or CPU x 32 images, lr 2e-3
# Measured:  not yet run; docs/benchmarks.md has the CIFAR-10 example
_base_ = [
    "../_base_/pretrain_runtime.py",
    "../_base_/datasets/class_folders.py",
    "../_base_/schedules/adamw_by_epoch.py",
]
train_images = "data/my_images/train"
val_images = "data/my_images/val"
train_list = ""  # files of lines "path below the folder, space, class index"; "": its class folders
val_list = ""
classes = ("apple", "banana", "cherry", "grape", "orange")
work_dir = "work_dirs/my_images/teacher"
img_size = 224
# Stem and stages reduce photographs by 16: 224 pixels make a map of 14 x 14 cells. For small images:
# dict(type="ResNet_CIFAR", strides=(1, 2, 2)), whose stem reduces nothing.
backbone = dict(type="ResNet", strides=(1, 2, 2))
base_channels = 32
batch_size = 32
num_workers = 2
epochs = 30
max_lr = 0.002
base_batch_size = 32  # images of a step that max_lr is for

# Score maps cover full images, so the annotator is trained on nearly full ones.
train_steps = _base_.train_steps
train_steps.crop.update(scale=img_size, crop_ratio_range=(0.7, 1.0))
test_steps = dict(
    load_image=dict(type="LoadImageFromFile"),
    resize=dict(type="Resize", scale=(img_size, img_size)),  # as the images are annotated
    pack=dict(type="PackInputs"),
)
train_pipeline, test_pipeline = list(train_steps.values()), list(test_steps.values())
loader = dict(batch_size=batch_size, num_workers=num_workers)
train_dataloader = dict(
    loader,
    dataset=dict(data_prefix=train_images, ann_file=train_list, classes=classes, pipeline=train_pipeline),
)
val_dataloader = dict(
    loader,
    dataset=dict(data_prefix=val_images, ann_file=val_list, classes=classes, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(
        num_classes=len(classes),
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        backbone,
        depth=18,
        num_stages=3,
        dilations=(1, 1, 1),
        out_indices=(2,),
        stem_channels=base_channels,
        base_channels=base_channels,
        zero_init_residual=False,  # learns sooner in few steps
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=len(classes), in_channels=4 * base_channels),
)

optim_wrapper = dict(optimizer=dict(lr=max_lr))
param_scheduler = dict(type="OneCycleLR", eta_max=max_lr, total_steps=epochs, convert_to_iter_based=True)
train_cfg = dict(max_epochs=epochs, val_interval=max(1, epochs // 10))
default_hooks = dict(checkpoint=dict(interval=max(1, epochs // 10)))
auto_scale_lr = dict(base_batch_size=base_batch_size)
