# UperNet on LV-ViT-S for your own images and masks: copy this file and change the first block.
#
# Made by:   mmtl start FOLDER on a computer with a GPU, which fills in the first block
# Data:      {data_root}/images/{train,val}/NAME.jpg and {data_root}/annotations/{train,val}/NAME.png: a gray or
#            palette PNG of the image's size with the values 0, 1, ... in the order of `classes`, and 255 for "ignore".
#            `mmtl convert_masks` makes such masks
# Command:   mim train mmsegmentation configs/own_data/lvvit-small_upernet_1xb8-20k_owndata-512x512.py --gpus 1 --amp
#            --cfg-options load_from=work_dirs/lvvit-small_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     1 GPU x 8 images, lr 6e-5, which is published for 16; auto_scale_lr.enable=True scales it to other batches
# Length:    20k steps x 8 = 160,000 images
# Measured:  not yet run; docs/benchmarks.md has a run of a small model on CamVid
_base_ = ["../lvvit/lvvit-small_upernet_8xb2-160k_ade20k-512x512.py"]

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
scale = (2048, 512)  # images are resized to fit into it, with their aspect ratio; results are measured at full size
crop_size = (512, 512)  # of training and of the test windows, height and width; multiples of 32
weights = None  # checkpoint of an LV-ViT-S; None: from scratch
batch_size = 8
num_workers = 4
max_iters = 20000
val_interval = 2000

train_steps, test_steps, tta_views = _base_.train_steps, _base_.test_steps, _base_.tta_views
train_steps.resize.update(scale=scale)
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

model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(img_size=crop_size),
    decode_head=dict(num_classes=len(classes)),
    auxiliary_head=dict(num_classes=len(classes)),
    test_cfg=dict(crop_size=crop_size, stride=tuple(round(side * 2 / 3) for side in crop_size)),
)
load_from = weights

warmup = dict(_base_.warmup, end=min(1500, max_iters // 10))
param_scheduler = [warmup, dict(_base_.decay, end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=val_interval)
default_hooks = dict(checkpoint=dict(interval=max(1, max_iters // 10)))
auto_scale_lr = dict(base_batch_size=8)  # to which the learning rate belongs
