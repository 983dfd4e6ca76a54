# UperNet on the nano LV-ViT that token labels pretrained, fine-tuned on the demo's masks.
#
# Command:  mim train mmsegmentation configs/demo/lvvit-nano_upernet_1xb16-tokenlabel-300i_demo-64x80.py --gpus 0
# Needs:    work_dirs/demo/token_labels/epoch_6.pth
# Length:   300 steps x 16 images = 1.6 epochs of 3000 images
_base_ = [
    "../_base_/segment_runtime.py",
    "../_base_/datasets/demo_segmentation.py",
    "../_base_/models/lvvit/nano_demo.py",
]
work_dir = "work_dirs/demo/segmentation_token_labels"
pretrained = "work_dirs/demo/token_labels/epoch_6.pth"

norm_cfg = dict(type="BN")
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size={{_base_.image_hw}},
        pad_val=0,
        seg_pad_val=255,
        # Images of other sizes are filled up to whole patches, in pairs, as the last level of the pyramid halves them.
        test_cfg=dict(size_divisor=2 * _base_.nano.patch_size),
    ),
    backbone=dict(
        type="mmtl.LVViT",
        arch={{_base_.nano.arch}},
        img_size={{_base_.image_hw}},
        patch_size={{_base_.nano.patch_size}},
        out_type="featmap",
        out_indices=(0, 1, 2, 3),
        final_norm=False,
        init_cfg=dict(type="Pretrained", checkpoint=pretrained, prefix="backbone."),
    ),
    neck=dict(type="Feature2Pyramid", embed_dim=96, rescales=[4, 2, 1, 0.5], norm_cfg=norm_cfg),
    decode_head=dict(
        type="UPerHead",
        in_channels=[96, 96, 96, 96],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3),
        channels=32,
        dropout_ratio=0.1,
        num_classes={{_base_.num_classes}},
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)

max_iters, max_lr = 300, 1e-3
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=max_lr, weight_decay=0.01),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=50),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=50, end=max_iters),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=100)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(checkpoint=dict(interval=100))
