# CIFAR-10 as class folders of 32 x 32 images: {data_root}/{train,val}/{class}/*.jpg. Any folders of small images fit.
data_root = "data/cifar10"
num_classes = 10
img_size = 32
mean_rgb, std_rgb = [125.3, 123.0, 113.9], [63.0, 62.1, 66.7]

train_dataloader = dict(
    batch_size=128,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="CustomDataset",
        data_root=data_root,
        data_prefix="train",
        pipeline=[
            dict(type="mmtl.LoadImageFromFile"),
            dict(type="RandomResizedCrop", scale=img_size, crop_ratio_range=(0.5, 1.0)),
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(type="PackInputs"),
        ],
    ),
)
val_dataloader = dict(
    batch_size=250,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CustomDataset",
        data_root=data_root,
        data_prefix="val",
        pipeline=[dict(type="LoadImageFromFile"), dict(type="PackInputs")],
    ),
)
val_evaluator = dict(type="Accuracy", topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
