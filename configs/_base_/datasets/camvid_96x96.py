# CamVid street scenes, 11 classes, 255 = void: {data_root}/{images,annotations}/{train,val}/. Images of 480 x 360 are
# seen at a third of their size; results are measured at full size. Otherwise as ADE20K.
_base_ = "ade20k_512x512.py"
data_root = "data/camvid"
crop_size = (96, 96)
scale = (160, 120)
num_classes = 11
metainfo = dict(
    classes=(
        *("sky", "building", "pole", "road", "pavement", "tree"),
        *("sign", "fence", "car", "pedestrian", "bicyclist"),
    ),
    palette=[
        [128, 128, 128],
        [128, 0, 0],
        [192, 192, 128],
        [128, 64, 128],
        [60, 40, 222],
        [128, 128, 0],
        [192, 128, 128],
        [64, 64, 128],
        [64, 0, 128],
        [64, 64, 0],
        [0, 128, 192],
    ],
)

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

camvid = dict(
    type="mmtl.BaseSegDataset",
    data_root=data_root,
    metainfo=metainfo,
    img_suffix=".jpg",
    seg_map_suffix=".png",
)
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        camvid,
        data_prefix=dict(img_path="images/train", seg_map_path="annotations/train"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        camvid,
        data_prefix=dict(img_path="images/val", seg_map_path="annotations/val"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
