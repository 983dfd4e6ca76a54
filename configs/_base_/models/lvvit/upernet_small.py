# UperNet on LV-ViT-S with the released side layers, ADE20K's 150 classes and crops of 512 x 512. Every segmentation
# recipe states its difference from this one.
#
# Source: released segmentation config; blocks and channels as there, LayerNorm eps 1e-6. Its drop path rate is applied
# as drop path here, its code uses it as dropout.
norm_cfg = dict(type="SyncBN")
loss_decode = dict(type="CrossEntropyLoss", use_sigmoid=False)

model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(512, 512),
        pad_val=0,
        seg_pad_val=255,
        # Images are filled up to whole patches for the test and cut back after it.
        test_cfg=dict(size_divisor=16),
    ),
    backbone=dict(
        type="mmtl.LVViT",
        arch="small",
        img_size=512,
        out_type="featmap",
        out_indices=(6, 9, 12, 15),
        final_norm=False,
        drop_path_rate=0.1,
        norm_cfg=dict(type="LN", eps=1e-6),
    ),
    neck=dict(type="mmtl.SideLayers", in_channels=384, out_channels=2048, norm_cfg=norm_cfg),
    decode_head=dict(
        type="UPerHead",
        in_channels=[384, 384, 384, 2048],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=256,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=loss_decode,
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=384,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(loss_decode, loss_weight=0.4),
    ),
    train_cfg=dict(),
    # Sliding window; whole images with --cfg-options model.test_cfg.mode=whole
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)
