# The dataset of `mmtl make_demo_data` for segmentation: 64 x 80 pixels (H x W), ground and eight kinds of object.
_base_ = "ade20k_512x512.py"
data_root = "data/demo/segmentation"
image_hw = (64, 80)
num_classes = 9
metainfo = dict(
    classes=(
        "ground",
        *("banded-cross", "checked-disc", "dotted-ring", "latticed-triangle"),
        *("plain-cross", "slanted-disc", "striped-ring", "zigzag-triangle"),
    ),
    palette=[
        [222, 222, 216],
        [230, 159, 0],
        [86, 180, 233],
        [0, 114, 178],
        [0, 158, 115],
        [148, 201, 61],
        [240, 228, 66],
        [213, 94, 0],
        [204, 121, 167],
    ],
)

# Images are used at their own size.
train_steps, test_steps, tta_views = _base_.train_steps, _base_.test_steps, _base_.tta_views
del train_steps["resize"], train_steps["crop"], train_steps["distortion"], test_steps["resize"]
tta_views.resize = [
    dict(type="Resize", scale=(int(image_hw[1] * ratio), int(image_hw[0] * ratio)), keep_ratio=True)
    for ratio in _base_.tta_ratios
]
tta_pipeline = [test_steps.load_image, dict(type="TestTimeAug", transforms=list(tta_views.values()))]
train_pipeline, test_pipeline = list(train_steps.values()), list(test_steps.values())

demo = dict(
    type="mmtl.BaseSegDataset",
    data_root=data_root,
    metainfo=metainfo,
    img_suffix=".png",
    reduce_zero_label=False,
)
loader = dict(batch_size=16, num_workers=1)
train_dataloader = dict(loader, dataset=dict(demo, pipeline=train_pipeline))
val_dataloader = dict(loader, dataset=dict(demo, pipeline=test_pipeline))
test_dataloader = val_dataloader
