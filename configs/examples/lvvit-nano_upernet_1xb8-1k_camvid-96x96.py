# UperNet on the nano LV-ViT that CIFAR-10 pretrained, on CamVid: a worked example of segmentation on your own data.
#
# Command:   mim train mmsegmentation configs/examples/lvvit-nano_upernet_1xb8-1k_camvid-96x96.py --gpus 0
# Needs:     data/camvid and work_dirs/cifar10/token_labels/epoch_3.pth
# Batch:     1 CPU x 8 images, lr 6e-4
# Length:    1000 steps x 8 images = 22 epochs of 367 images
# Measured:  docs/benchmarks.md
_base_ = [
    "../_base_/segment_runtime.py",
    "../_base_/datasets/camvid_96x96.py",
    "../_base_/models/lvvit/nano_patch4.py",
    "../_base_/models/lvvit/upernet_nano.py",
    "../_base_/schedules/segment_adamw.py",
]
work_dir = "work_dirs/camvid/from_token_labels"
pretrained = "work_dirs/cifar10/token_labels/epoch_3.pth"

model = dict(
    data_preprocessor=dict(
        mean=[125.3, 123.0, 113.9],
        std=[63.0, 62.1, 66.7],
        size=_base_.crop_size,
    ),
    backbone=dict(_base_.nano, img_size=_base_.crop_size, init_cfg=dict(checkpoint=pretrained)),
    neck=dict(rescales=[2, 1, 0.5, 0.25]),
    decode_head=dict(num_classes=_base_.num_classes),
    # A test image of 120 x 160 pixels is 30 x 40 patches; other sizes are padded to full patches.
    test_cfg=dict(size_divisor=_base_.nano.patch_size),
)

optim_wrapper = dict(optimizer=dict(lr=6e-4))
param_scheduler = [dict(_base_.warmup, start_factor=1e-3, end=100), dict(_base_.decay, begin=100, end=1000)]
train_cfg = dict(max_iters=1000, val_interval=500)
default_hooks = dict(checkpoint=dict(interval=100))
