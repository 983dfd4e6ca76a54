# ADE20K, 150 classes, crops of 512 x 512 (MMSegmentation's usual pipeline; the dataset itself turns label 0 into
# "ignored"). Other datasets change the named steps and rebuild the pipelines from them.
data_root = "data/ade/ADEChallengeData2016"
crop_size = (512, 512)
scale = (2048, 512)

train_steps = dict(
    load_image=dict(type="mmtl.LoadImageFromFile"),  # refuses truncated images
    load_annotations=dict(type="LoadAnnotations"),
    resize=dict(type="RandomResize", scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True),
    crop=dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    flip=dict(type="RandomFlip", prob=0.5),
    distortion=dict(type="PhotoMetricDistortion"),
    pack=dict(type="PackSegInputs"),
)
test_steps = dict(
    load_image=dict(type="LoadImageFromFile"),
    resize=dict(type="Resize", scale=scale, keep_ratio=True),
    load_annotations=dict(type="LoadAnnotations"),  # after Resize: the ground truth keeps its own size
    pack=dict(type="PackSegInputs"),
)
# Multi-scale and flip, `mim test ... --tta`: the published ratios of the test size.
tta_ratios = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
tta_views = dict(
    resize=[
        dict(type="Resize", scale=(int(scale[0] * ratio), int(scale[1] * ratio)), keep_ratio=True)
        for ratio in tta_ratios
    ],
    flip=[dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)],
    load_annotations=[dict(type="LoadAnnotations")],
    pack=[dict(type="PackSegInputs")],
)
train_pipeline, test_pipeline = list(train_steps.values()), list(test_steps.values())
tta_pipeline = [dict(type="LoadImageFromFile"), dict(type="TestTimeAug", transforms=list(tta_views.values()))]

loader = dict(num_workers=4)
train_dataloader = dict(
    loader,
    batch_size=2,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="mmtl.ADE20KDataset",
        data_root=data_root,
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    loader,
    batch_size=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="mmtl.ADE20KDataset",
        data_root=data_root,
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_dataloader = val_dataloader
test_evaluator = val_evaluator
