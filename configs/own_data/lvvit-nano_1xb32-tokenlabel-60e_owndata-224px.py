# LV-ViT with token labels on your own images.
#
# Made by:   mmtl start FOLDER, which fills in the first block; or copy this file and change it
# Command:   mmtl train configs/own_data/lvvit-nano_1xb32-tokenlabel-60e_owndata-224px.py
# Needs:     score_maps, made of the training images by `mmtl make_score_maps`
# Batch:     1 GPU or CPU x 32 images, lr 1e-3
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
work_dir = "work_dirs/my_images/student"
score_maps = "work_dirs/my_images/score_maps"
img_size = 224
patch_size = 16  # pixels of a token; for small images 4, for example
# "tiny", "small" or "medium" (channels 240, 384, 512), or, for few images or a CPU, this nano model
channels = 96
arch = dict(
    embed_dims=channels, num_layers=4, num_heads=3, feedforward_channels=288, stem_channels=24, residual_divisor=2
)
weights = None  # checkpoint of an LV-ViT of the same arch; None: from scratch
batch_size = 32
num_workers = 2
epochs = 60
max_lr = 0.001
base_batch_size = 32  # images of a step that max_lr is for
mixtoken = None  # 0.5 mixes half of the batches: a regularizer for long runs and larger models

steps = _base_.train_steps
train_steps = dict(
    load_image=steps.load_image,
    load_score_map=dict(type="mmtl.LoadScoreMap", store=score_maps, num_classes=len(classes)),
    crop=dict(steps.crop, type="mmtl.RandomResizedCrop", scale=img_size),
    flip=dict(steps.flip, type="mmtl.RandomFlip"),
    pack=dict(type="mmtl.PackTokenLabelInputs"),
)
test_steps = dict(
    load_image=dict(type="LoadImageFromFile"),
    resize=dict(type="ResizeEdge", scale=round(img_size / 0.9), edge="short"),
    crop=dict(type="CenterCrop", crop_size=img_size),
    pack=dict(type="PackInputs"),
)
train_pipeline, test_pipeline = list(train_steps.values()), list(test_steps.values())
loader = dict(batch_size=batch_size, num_workers=num_workers)
train_dataloader = dict(
    loader,
    collate_fn=dict(type="mmtl.collate_training_batch", num_classes=len(classes)),
    dataset=dict(data_prefix=train_images, ann_file=train_list, classes=classes, pipeline=train_pipeline),
)
val_dataloader = dict(
    loader,
    dataset=dict(data_prefix=val_images, ann_file=val_list, classes=classes, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

model = dict(
    type="mmtl.TokenLabelClassifier",
    backbone=dict(type="mmtl.LVViT", arch=arch, img_size=img_size, patch_size=patch_size),
    head=dict(type="mmtl.TokenLabelHead", num_classes=len(classes), in_channels=channels, beta=0.5),
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        tail="probability",  # of the annotator: with few classes, the published zero logits are above many listed ones
        smoothing=0.1,
        batch_augments=dict(augments=[dict(type="mmtl.MixToken")], probs=[mixtoken]) if mixtoken else None,
    ),
)
load_from = weights

optim_wrapper = dict(optimizer=dict(lr=max_lr))
param_scheduler = dict(type="OneCycleLR", eta_max=max_lr, total_steps=epochs, convert_to_iter_based=True)
train_cfg = dict(max_epochs=epochs, val_interval=max(1, epochs // 10))
default_hooks = dict(checkpoint=dict(interval=max(1, epochs // 10)))
auto_scale_lr = dict(base_batch_size=base_batch_size)
