# Pascal VOC 2012, 21 classes with the background: its 1,464 training images and 9,118 more that SBD annotates, crops
# and views as on ADE20K. MMSegmentation's tools/dataset_converters/voc_aug.py makes SegmentationClassAug and aug.txt.
_base_ = ["./ade20k_512x512.py"]
data_root = "data/VOCdevkit/VOC2012"
voc = dict(type="mmtl.PascalVOCDataset", data_root=data_root)

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[
            dict(
                voc,
                data_prefix=dict(img_path="JPEGImages", seg_map_path=seg_map_path),
                ann_file=ann_file,
                pipeline=_base_.train_pipeline,
            )
            for seg_map_path, ann_file in (
                ("SegmentationClass", "ImageSets/Segmentation/train.txt"),
                ("SegmentationClassAug", "ImageSets/Segmentation/aug.txt"),
            )
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(
        voc,
        data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClass"),
        ann_file="ImageSets/Segmentation/val.txt",
    ),
)
test_dataloader = val_dataloader
