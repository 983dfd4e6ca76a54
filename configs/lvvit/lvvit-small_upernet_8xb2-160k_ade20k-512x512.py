# UperNet on LV-ViT-S for ADE20K at 512 x 512, with the released side layers.
#
# Paper:     arXiv 2104.10858
# Command:   mim train mmsegmentation configs/lvvit/lvvit-small_upernet_8xb2-160k_ade20k-512x512.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/lvvit-small_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 2 = 16 images, lr 6e-5, 160k steps = 127 epochs of 20,210 images
# Quoted:    47.9 mIoU, 48.6 with multi-scale and flip (paper)
# Measured:  not yet run
_base_ = [
    "../_base_/datasets/ade20k_512x512.py",
    "../_base_/schedules/segment_bs16_adamw_160k.py",
    "../_base_/segment_runtime.py",
]
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
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)
default_hooks = dict(checkpoint=dict(interval=16000))
