# UperNet on any timm model for ADE20K at 512 x 512: choose it by its name, as in
# --cfg-options model.backbone.model_name=swin_tiny_patch4_window7_224. Feature2Pyramid makes maps of strides 4, 8,
# 16 and 32 of four blocks of a plain transformer; the maps of a hierarchical model are used as they are.
#
# Paper:     not in the paper
# Command:   mim train mmsegmentation configs/token_labeling/timm_upernet_8xb2-160k_ade20k-512x512.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/timm_8xb128-tokenlabel-300e_in1k/epoch_310.pth
#            model.backbone.model_name=deit_small_patch16_224
# Batch:     8 GPUs x 2 = 16 images, lr 6e-5
# Length:    160k steps = 127 epochs of 20,210 images
# Measured:  not yet run
_base_ = "../lvvit/lvvit-small_upernet_8xb2-160k_ade20k-512x512.py"
model = dict(
    backbone=dict(
        _delete_=True,
        type="mmtl.TimmBackbone",
        model_name="deit_small_patch16_224",
        img_size=_base_.crop_size,
        out_type="featmap",
        drop_path_rate=0.1,
    ),
    neck=dict(_delete_=True, type="Feature2Pyramid", norm_cfg=_base_.norm_cfg),
    # Channels and number of maps are the backbone's; the auxiliary head has the last map but one.
    decode_head=dict(in_channels=None, in_index=None),
    auxiliary_head=dict(in_channels=None, in_index=-2),
    test_cfg=dict(size_divisor=32),
)
