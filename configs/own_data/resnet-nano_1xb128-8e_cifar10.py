# Annotator for CIFAR-10: a narrow ResNet-18 that keeps an 8 x 8 map of a 32 x 32 image.
#
# Command:   mim train mmpretrain configs/own_data/resnet-nano_1xb128-8e_cifar10.py --gpus 0
# Length:    8 epochs x 25000 / 128 images = 1568 steps
# Measured:  docs/own_data.md
_base_ = ["../_base_/pretrain_runtime.py", "../_base_/datasets/cifar10_folders.py"]
work_dir = "work_dirs/cifar10/annotator"

# Score maps cover whole images, so the annotator is trained on nearly whole ones.
train_pipeline = [
    dict(type="mmtl.LoadImageFromFile"),
    dict(type="RandomCrop", crop_size={{_base_.img_size}}, padding=4, padding_mode="reflect"),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(
        num_classes={{_base_.num_classes}}, mean={{_base_.mean_rgb}}, std={{_base_.std_rgb}}, to_rgb=True
    ),
    backbone=dict(
        type="ResNet_CIFAR",
        depth=18,
        num_stages=3,
        strides=(2, 1, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        stem_channels=20,
        base_channels=20,
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes={{_base_.num_classes}}, in_channels=80),
)

epochs, max_lr = 8, 0.2
optim_wrapper = dict(optimizer=dict(type="SGD", lr=max_lr, momentum=0.9, nesterov=True, weight_decay=5e-4))
param_scheduler = dict(type="OneCycleLR", eta_max=max_lr, total_steps=epochs, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
