# Semantic FPN on VOLO-D1 for ADE20K at 512 x 512, on the four groups of blocks of its two stages: strides 8, 16,
# 16 and 16.
#
# Paper:     Panoptic Feature Pyramid Networks, arXiv 1901.02446 (head); VOLO, arXiv 2106.13112 (backbone)
# Source:    none: the authors of VOLO never published code or settings for segmentation; LV-ViT-S's schedule
# Command:   mim train mmsegmentation configs/token_labeling/volo-d1_fpn_8xb2-160k_ade20k-512x512.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/volo-d1_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 2 = 16 images, lr 6e-5
# Length:    160k steps = 127 epochs of 20,210 images
# Measured:  not yet run
_base_ = "volo-d1_upernet_8xb2-160k_ade20k-512x512.py"
model = dict(
    neck=dict(_delete_=True, type="FPN", in_channels=_base_.channels, out_channels=256, num_outs=4),
    decode_head=dict(
        _base_.head,
        _delete_=True,
        type="FPNHead",
        in_channels=4 * [256],
        in_index=[0, 1, 2, 3],
        feature_strides=[8, 16, 16, 16],
        channels=128,
        norm_cfg=_base_.norm_cfg,
    ),
    auxiliary_head=None,
)
