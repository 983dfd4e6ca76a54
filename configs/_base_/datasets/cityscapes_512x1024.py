# Cityscapes, 19 classes, crops of 512 x 1024: {data_root}/{leftImg8bit,gtFine}/{train,val}/, labels converted by
# MMSegmentation's tools/dataset_converters/cityscapes.py. Otherwise as ADE20K.
_base_ = ["./ade20k_512x512.py"]
data_root = "data/cityscapes"
crop_size = (512, 1024)
test_scale = (2048, 1024)

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=test_scale)
train_pipeline[3].update(crop_size=crop_size)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=test_scale)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1]["transforms"][0] = [
    dict(resize, scale=(resize["scale"][0], resize["scale"][0] // 2)) for resize in tta_pipeline[1]["transforms"][0]
]

cityscapes = dict(type="mmtl.CityscapesDataset", data_root=data_root)
train_dataloader = dict(
    dataset=dict(
        cityscapes,
        data_prefix=dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        cityscapes,
        data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
