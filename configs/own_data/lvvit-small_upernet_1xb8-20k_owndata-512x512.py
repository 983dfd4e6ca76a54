# UperNet on LV-ViT-S for your own images and masks: copy this file and change the first block.
#
# Data:      {data_root}/images/{train,val}/NAME.jpg and {data_root}/annotations/{train,val}/NAME.png: a gray or
#            palette PNG of the image's size with the values 0, 1, ... in the order of `classes`, and 255 for "ignore"
# Command:   mim train mmsegmentation configs/own_data/lvvit-small_upernet_1xb8-20k_owndata-512x512.py --gpus 1 --amp
#            --cfg-options load_from=work_dirs/lvvit-small_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     1 GPU x 8 images, lr 6e-5, which is published for 16; auto_scale_lr.enable=True scales it to other batches
# Length:    20k steps x 8 = 160,000 images
# Measured:  not yet run; docs/benchmarks.md has a run of a small model on CamVid
_base_ = ["../lvvit/lvvit-small_upernet_8xb2-160k_ade20k-512x512.py"]

data_root = "data/my_data"
classes = ("background", "thing", "other thing")
palette = [[0, 0, 0], [255, 128, 0], [0, 128, 255]]  # RGB of each class in figures
img_suffix, seg_map_suffix = ".jpg", ".png"
reduce_zero_label = False  # True if 0 means "nothing" and the classes begin at 1
max_iters = 20000
batch_size = 8

my_data = dict(
    _delete_=True,
    type="mmtl.BaseSegDataset",
    data_root=data_root,
    metainfo=dict(classes=classes, palette=palette),
    img_suffix=img_suffix,
    seg_map_suffix=seg_map_suffix,
    reduce_zero_label=reduce_zero_label,
)
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        my_data,
        data_prefix=dict(img_path="images/train", seg_map_path="annotations/train"),
        pipeline=_base_.train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        my_data,
        data_prefix=dict(img_path="images/val", seg_map_path="annotations/val"),
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = val_dataloader
model = dict(decode_head=dict(num_classes=len(classes)), auxiliary_head=dict(num_classes=len(classes)))

param_scheduler = [_base_.warmup, dict(_base_.decay, end=max_iters)]
auto_scale_lr = dict(base_batch_size=8)  # to which the learning rate belongs
train_cfg = dict(max_iters=max_iters, val_interval=2000)
default_hooks = dict(checkpoint=dict(interval=2000))
