# UperNet on the nano LV-ViT that CIFAR-10 pretrained, on CamVid: a worked example of segmentation on your own data.
#
# Command:   mim train mmsegmentation configs/own_data/lvvit-nano_upernet_1xb8-1k_camvid-96x96.py --gpus 0
# Needs:     data/camvid and work_dirs/cifar10/token_labels/epoch_3.pth
# Length:    1000 steps x 8 images = 22 epochs of 367 images
# Measured:  docs/own_data.md
_base_ = [
    "../_base_/segment_runtime.py",
    "../_base_/datasets/camvid_96x96.py",
    "../_base_/models/lvvit/nano_patch4.py",
]
work_dir = "work_dirs/camvid/from_token_labels"
pretrained = "work_dirs/cifar10/token_labels/epoch_3.pth"

norm_cfg = dict(type="BN")
loss_decode = dict(type="CrossEntropyLoss", use_sigmoid=False)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[125.3, 123.0, 113.9],
        std=[63.0, 62.1, 66.7],
        bgr_to_rgb=True,
        size={{_base_.crop_size}},
        pad_val=0,
        seg_pad_val=255,
        # A test image of 120 x 160 pixels is 30 x 40 patches; other sizes are filled up to whole patches.
        test_cfg=dict(size_divisor=4),
    ),
    backbone=dict(
        type="mmtl.LVViT",
        arch={{_base_.nano.arch}},
        patch_size={{_base_.nano.patch_size}},
        img_size={{_base_.crop_size}},
        out_type="featmap",
        out_indices=(0, 1, 2, 3),
        final_norm=False,
        init_cfg=dict(type="Pretrained", checkpoint=pretrained, prefix="backbone."),
    ),
    neck=dict(type="Feature2Pyramid", embed_dim=96, rescales=[2, 1, 0.5, 0.25], norm_cfg=norm_cfg),
    decode_head=dict(
        type="UPerHead",
        in_channels=[96, 96, 96, 96],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=32,
        dropout_ratio=0.1,
        num_classes={{_base_.num_classes}},
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=loss_decode,
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=6e-4, weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys={
            "pos_embed": dict(decay_mult=0.0),
            "cls_token": dict(decay_mult=0.0),
            "norm": dict(decay_mult=0.0),
        }
    ),
)
max_iters = 1000
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=100),
    dict(type="PolyLR", eta_min=0.0, power=1.0, by_epoch=False, begin=100, end=max_iters),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=500)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(checkpoint=dict(interval=500))
