# UperNet on a nano LV-ViT for your own images and masks, on a CPU or for a first try.
#
# Made by:   mmtl start FOLDER, which fills in the first block; or copy this file and change it
# Data:      {data_root}/images/{train,val}/NAME.jpg and {data_root}/annotations/{train,val}/NAME.png: a gray or
#            palette PNG of the image's size with the values 0, 1, ... in the order of `classes`, and 255 for "ignore".
#            `mmtl convert_masks` makes such masks
# Command:   mmtl train configs/own_data/lvvit-nano_upernet_1xb8-1k_owndata-96x96.py
# Batch:     1 GPU or CPU x 8 images, lr 6e-4
# Measured:  not yet run; docs/benchmarks.md has the CamVid example
_base_ = [
    "../_base_/segment_runtime.py",
    "../_base_/datasets/ade20k_512x512.py",
    "../_base_/models/lvvit/nano_patch4.py",
    "../_base_/models/lvvit/upernet_nano.py",
    "../_base_/schedules/segment_adamw.py",
]
data_root = "data/my_data"
train_prefix = dict(img_path="images/train", seg_map_path="annotations/train")
val_prefix = dict(img_path="images/val", seg_map_path="annotations/val")
train_list = ""  # files of lines "image, tab, mask", paths below the prefixes; "": all files
val_list = ""
classes = ("background", "thing", "other thing")
palette = [[0, 0, 0], [255, 128, 0], [0, 128, 255]]  # RGB of each class in figures
img_suffix = ".jpg"
seg_map_suffix = ".png"
reduce_zero_label = False  # True if 0 means "nothing" and the classes begin at 1
work_dir = "work_dirs/my_data/segmentation"
scale = (160, 120)  # images are resized to fit into it, with their aspect ratio; results are measured at full size
crop_size = (96, 96)  # of training, height and width; multiples of 16
pretrained = None  # checkpoint of a nano LV-ViT with patches of 4; None: from scratch
batch_size = 8
num_workers = 2
max_iters = 1000
val_interval = 500
max_lr = 0.0006

train_steps, test_steps, tta_views = _base_.train_steps, _base_.test_steps, _base_.tta_views
train_steps.resize.update(scale=scale, ratio_range=(0.8, 1.6))
train_steps.crop.update(crop_size=crop_size)
test_steps.resize.update(scale=scale)
tta_views.resize = [
    dict(type="Resize", scale=(int(scale[0] * ratio), int(scale[1] * ratio)), keep_ratio=True)
    for ratio in _base_.tta_ratios
]
tta_pipeline = [test_steps.load_image, dict(type="TestTimeAug", transforms=list(tta_views.values()))]
train_pipeline, test_pipeline = list(train_steps.values()), list(test_steps.values())
my_data = dict(
    _delete_=True,
    type="mmtl.BaseSegDataset",
    data_root=data_root,
    metainfo=dict(classes=classes, palette=palette),
    img_suffix=img_suffix,
    seg_map_suffix=seg_map_suffix,
    reduce_zero_label=reduce_zero_label,
)
train_data = dict(my_data, ann_file=train_list, data_prefix=train_prefix, pipeline=train_pipeline)
val_data = dict(my_data, ann_file=val_list, data_prefix=val_prefix, pipeline=test_pipeline)
train_dataloader = dict(batch_size=batch_size, num_workers=num_workers, dataset=train_data)
val_dataloader = dict(num_workers=num_workers, dataset=val_data)
test_dataloader = val_dataloader

random_init = dict(_delete_=True, type="TruncNormal", layer="Linear", std=0.02)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        _base_.nano,
        img_size=crop_size,
        init_cfg=dict(checkpoint=pretrained)
        if pretrained
        else dict(_delete_=True, type="TruncNormal", layer="Linear"),
    ),
    neck=dict(rescales=[2, 1, 0.5, 0.25]),
    decode_head=dict(num_classes=len(classes)),
    test_cfg=dict(size_divisor=4 * _base_.nano.patch_size),  # other sizes are padded to full patches
)

warmup_iters = max(1, max_iters // 10)
optim_wrapper = dict(optimizer=dict(lr=max_lr))
param_scheduler = [
    dict(_base_.warmup, start_factor=1e-3, end=warmup_iters),
    dict(_base_.decay, begin=warmup_iters, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=val_interval)
default_hooks = dict(checkpoint=dict(interval=max(1, max_iters // 10)))
