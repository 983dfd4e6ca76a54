# Cityscapes, 19 classes, crops of 512 x 1024: {data_root}/{leftImg8bit,gtFine}/{train,val}/, labels converted by
# MMSegmentation's tools/dataset_converters/cityscapes.py. Otherwise as ADE20K.
_base_ = "ade20k_512x512.py"
data_root = "data/cityscapes"
crop_size = (512, 1024)
scale = (2048, 1024)

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

cityscapes = dict(type="mmtl.CityscapesDataset", data_root=data_root)
train_prefix = dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train")
val_prefix = dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val")
train_dataloader = dict(dataset=dict(cityscapes, data_prefix=train_prefix, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(cityscapes, data_prefix=val_prefix, pipeline=test_pipeline))
test_dataloader = val_dataloader
