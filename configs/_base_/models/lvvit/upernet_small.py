# UperNet on LV-ViT-S with the released side layers and ADE20K's 150 classes; a recipe adds what follows from the crop
# size.
#
# Source: released segmentation config; blocks and channels as there, LayerNorm eps 1e-6. Its drop path rate is applied
# as drop path here, its code uses it as dropout.
_base_ = "../upernet.py"
norm_cfg = dict(type="SyncBN")
head = dict(_base_.head, num_classes=150)

model = dict(
    backbone=dict(
        arch="small",
        out_indices=(6, 9, 12, 15),
        drop_path_rate=0.1,
        norm_cfg=dict(type="LN", eps=1e-6),
    ),
    neck=dict(type="mmtl.SideLayers", in_channels=384, out_channels=2048, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=[384, 384, 384, 2048], channels=256, num_classes=150, norm_cfg=norm_cfg),
    auxiliary_head=dict(
        head,
        type="FCNHead",
        in_channels=384,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        norm_cfg=norm_cfg,
        loss_decode=dict(_base_.loss_decode, loss_weight=0.4),
    ),
    # Sliding window; the full image with --cfg-options model.test_cfg.mode=whole. What the backbone sees is padded to
    # multiples of size_divisor (full patches), and the logits are cropped back.
    test_cfg=dict(mode="slide", size_divisor=16),
)
