# Semantic FPN on LV-ViT-S for ADE20K at 512 x 512. A pyramid of strides 4 to 32 from four blocks, the top-down path of
# FPN, and a light head.
#
# Paper:     Panoptic Feature Pyramid Networks, arXiv 1901.02446 (head)
# Command:   mim train mmsegmentation configs/lvvit/lvvit-small_fpn_8xb2-160k_ade20k-512x512.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/lvvit-small_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 2 = 16 images, lr 6e-5
# Length:    160k steps = 127 epochs of 20,210 images
# Measured:  not yet run
_base_ = "lvvit-small_upernet_8xb2-160k_ade20k-512x512.py"
pyramid = dict(type="Feature2Pyramid", embed_dim=384, rescales=[4, 2, 1, 0.5], norm_cfg=_base_.norm_cfg)
fpn = dict(type="FPN", in_channels=4 * [384], out_channels=256, num_outs=4)
model = dict(
    neck=[pyramid, fpn],
    decode_head=dict(
        _base_.head,
        _delete_=True,
        type="FPNHead",
        in_channels=4 * [256],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=128,
        norm_cfg=_base_.norm_cfg,
    ),
    auxiliary_head=None,
)
