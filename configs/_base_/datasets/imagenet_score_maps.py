# ImageNet with the score maps of `mmtl make_score_maps`. A recipe for another image size or crop changes the named
# steps and rebuilds the pipelines from them. mmtl's crops and flips are OpenMMLab's own and also record in view_affine
# what they did.
data_root = "data/imagenet"
# To train on class labels only: --cfg-options score_maps=None
score_maps = "data/imagenet_score_maps"
img_size = 224
bgr_mean, bgr_std = [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]

# Steps with on_device=True make their draws in the worker and change the pixels of the full batch in the data
# preprocessor.
train_steps = dict(
    load_image=dict(type="mmtl.LoadImageFromFile"),  # unreadable="skip" leaves out images that cannot be decoded
    load_score_map=dict(type="mmtl.LoadScoreMap", store=score_maps, num_classes=1000),
    crop=dict(type="mmtl.RandomResizedCrop", scale=img_size, backend="torch", interpolation="random"),
    flip=dict(type="mmtl.RandomFlip", prob=0.5, direction="horizontal", on_device=True),
    rand_augment=dict(
        type="mmtl.RandAugment",  # rand-m9-mstd0.5-inc1
        policies="timm_increasing",
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[round(x) for x in bgr_mean], interpolation="bicubic"),
        on_device=True,
    ),
    erasing=dict(
        type="mmtl.RandomErasing",
        erase_prob=0.25,
        mode="rand",
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=bgr_mean,
        fill_std=bgr_std,
        on_device=True,
    ),
    pack=dict(type="mmtl.PackTokenLabelInputs", data_sample=False),
)
test_steps = dict(
    load_image=dict(type="LoadImageFromFile"),  # of mmcv: MMPretrain's inferencer looks for this name
    # The crop is 0.9 of the resized edge: 224 / 0.9 = 248 pixels.
    resize=dict(type="ResizeEdge", scale=int(img_size / 0.9), edge="short", backend="pillow", interpolation="bicubic"),
    crop=dict(type="CenterCrop", crop_size=img_size),
    pack=dict(type="PackInputs"),
)
train_pipeline, test_pipeline = list(train_steps.values()), list(test_steps.values())

loader = dict(batch_size=128, num_workers=8)
train_dataloader = dict(
    loader,
    drop_last=True,  # as released: no step of fewer images at the full learning rate
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="mmtl.collate_training_batch", num_classes=1000),
    dataset=dict(type="mmtl.ImageNetFolders", data_root=data_root, split="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    loader,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="mmtl.ImageNetFolders", data_root=data_root, split="val", pipeline=test_pipeline),
)
val_evaluator = [dict(type="Accuracy", topk=(1, 5)), dict(type="mmtl.HeadAccuracy")]
test_dataloader = val_dataloader
test_evaluator = dict(type="Accuracy", topk=(1, 5))
