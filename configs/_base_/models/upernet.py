# UperNet on LV-ViT. Size, channels and neck follow in lvvit/upernet_*.py; `head` holds what all heads share.
loss_decode = dict(type="CrossEntropyLoss", use_sigmoid=False)
head = dict(dropout_ratio=0.1, align_corners=False, loss_decode=loss_decode)
model = dict(
    type="mmtl.EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(type="mmtl.LVViT", out_type="featmap", final_norm=False),
    decode_head=dict(head, type="UPerHead", in_index=[0, 1, 2, 3], pool_scales=(1, 2, 3, 6)),
    train_cfg=dict(),
)
