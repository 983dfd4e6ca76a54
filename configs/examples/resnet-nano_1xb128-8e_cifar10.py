# Annotator for CIFAR-10: a narrow ResNet-18 that keeps an 8 x 8 map of a 32 x 32 image.
#
# Command:   mim train mmpretrain configs/examples/resnet-nano_1xb128-8e_cifar10.py --gpus 0
# Batch:     1 CPU x 128 images, lr 0.2
# Length:    8 epochs x 25000 / 128 images = 1568 steps
# Measured:  docs/benchmarks.md
_base_ = [
    "../_base_/pretrain_runtime.py",
    "../_base_/datasets/cifar10_folders.py",
    "../_base_/schedules/adamw_by_epoch.py",
]
work_dir = "work_dirs/cifar10/annotator"

# Score maps cover full images, so the annotator is trained on nearly full ones.
train_steps = _base_.train_steps
train_steps.crop = dict(type="RandomCrop", crop_size=_base_.img_size, padding=4, padding_mode="reflect")
train_dataloader = dict(dataset=dict(pipeline=list(train_steps.values())))

model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(num_classes=_base_.num_classes, mean=_base_.mean_rgb, std=_base_.std_rgb, to_rgb=True),
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
    head=dict(type="LinearClsHead", num_classes=_base_.num_classes, in_channels=80),
)

epochs, max_lr = 8, 0.2
sgd = dict(type="SGD", lr=max_lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
optim_wrapper = dict(_delete_=True, optimizer=sgd)
param_scheduler = dict(type="OneCycleLR", eta_max=max_lr, total_steps=epochs, convert_to_iter_based=True)
train_cfg = dict(max_epochs=epochs)
