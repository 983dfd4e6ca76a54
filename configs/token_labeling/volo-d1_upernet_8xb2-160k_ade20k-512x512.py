# UperNet on VOLO-D1 for ADE20K at 512 x 512, on the four groups of blocks of its two stages: strides 8, 16, 16 and
# 16.
#
# Paper:     VOLO: Vision Outlooker for Visual Recognition, arXiv 2106.13112
# Source:    none: the authors never published code or settings for segmentation; LV-ViT-S's schedule and heads
# Command:   mim train mmsegmentation configs/token_labeling/volo-d1_upernet_8xb2-160k_ade20k-512x512.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/volo-d1_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 2 = 16 images, lr 6e-5
# Length:    160k steps = 127 epochs of 20,210 images
# Measured:  not yet run
_base_ = "../lvvit/lvvit-small_upernet_8xb2-160k_ade20k-512x512.py"
# Other sizes: arch, channels (D2 and D3: 256 and 3 x 512; D4 and D5: 384 and 3 x 768) and drop path.
channels = [192, 384, 384, 384]
model = dict(
    backbone=dict(
        _delete_=True,
        type="mmtl.VOLO",
        arch="d1",
        img_size=_base_.crop_size,
        out_type="featmap",
        out_indices=(0, 1, 2, 3),
        final_norm=False,
        drop_path_rate=0.1,
    ),
    neck=None,
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
