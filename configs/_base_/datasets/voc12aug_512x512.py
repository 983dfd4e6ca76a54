# Pascal VOC 2012, 21 classes with the background: its 1,464 training images and 9,118 more that SBD annotates, crops
# and views as on ADE20K. MMSegmentation's tools/dataset_converters/voc_aug.py makes SegmentationClassAug and aug.txt.
_base_ = "ade20k_512x512.py"
data_root = "data/VOCdevkit/VOC2012"
voc = dict(type="mmtl.PascalVOCDataset", data_root=data_root)
train = dict(
    voc,
    data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClass"),
    ann_file="ImageSets/Segmentation/train.txt",
    pipeline=_base_.train_pipeline,
)
aug = dict(
    train,
    data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClassAug"),
    ann_file="ImageSets/Segmentation/aug.txt",
)
train_dataloader = dict(dataset=dict(_delete_=True, type="ConcatDataset", datasets=[train, aug]))
val_dataloader = dict(
    dataset=dict(voc, data_prefix=train["data_prefix"], ann_file="ImageSets/Segmentation/val.txt"),
)
test_dataloader = val_dataloader
