# A pretrained timm model fine-tuned on your own images: the annotator of `mmtl start`.
#
# Made by:   mmtl start FOLDER --teacher timm/NAME, which fills in the first block and writes the file of the weights
# Command:   mmtl train configs/own_data/timm-finetuned_1xb32-12e_owndata.py
# Batch:     1 GPU or CPU x 32 images, lr 5e-4
# Measured:  not yet run
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
model_name = "mobilenetv3_small_050"  # any convolutional network of timm
weights = None  # file of its pretrained weights, best with a classifier of zeros; None: from scratch
img_size = 224
mean_rgb = [123.675, 116.28, 103.53]  # those that the weights were trained with
std_rgb = [58.395, 57.12, 57.375]
batch_size = 32
num_workers = 2
epochs = 12
max_lr = 0.0005
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
    type="TimmClassifier",
    model_name=model_name,
    num_classes=len(classes),
    init_cfg=dict(type="Pretrained", checkpoint=weights) if weights else None,
    data_preprocessor=dict(num_classes=len(classes), mean=mean_rgb, std=std_rgb, to_rgb=True),
)

optim_wrapper = dict(optimizer=dict(lr=max_lr))
param_scheduler = dict(type="OneCycleLR", eta_max=max_lr, total_steps=epochs, convert_to_iter_based=True)
train_cfg = dict(max_epochs=epochs, val_interval=max(1, epochs // 10))
default_hooks = dict(checkpoint=dict(interval=max(1, epochs // 10)))
auto_scale_lr = dict(base_batch_size=base_batch_size)
