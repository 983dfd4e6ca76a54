# Class folders of small images: {data_root}/{train,val}/{class}/*. A dataset adds its root, image and batch sizes.
train_steps = dict(
    load_image=dict(type="mmtl.LoadImageFromFile"),
    crop=dict(type="RandomResizedCrop", crop_ratio_range=(0.5, 1.0)),
    flip=dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    pack=dict(type="PackInputs"),
)
suffixes = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")  # as mmtl's commands read
loader = dict(num_workers=1)
train_dataloader = dict(
    loader,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="CustomDataset", data_prefix="train", extensions=suffixes),
)
val_dataloader = dict(
    loader,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CustomDataset",
        data_prefix="val",
        extensions=suffixes,
        pipeline=[dict(type="LoadImageFromFile"), dict(type="PackInputs")],
    ),
)
val_evaluator = dict(type="Accuracy", topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
