# UperNet on Swin-T (mmpretrain's SwinTransformer) for ADE20K at 512 x 512, on the maps of its four stages: strides
# 4, 8, 16 and 32.
#
# Paper:     not in the paper
# Command:   mim train mmsegmentation configs/token_labeling/swin-tiny_upernet_8xb2-160k_ade20k-512x512.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/swin-tiny_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 2 = 16 images, lr 6e-5
# Length:    160k steps = 127 epochs of 20,210 images
# Measured:  not yet run
_base_ = "timm_upernet_8xb2-160k_ade20k-512x512.py"
model = dict(
    backbone=dict(
        _delete_=True,
        type="mmpretrain.SwinTransformer",
        arch="tiny",
        img_size=_base_.crop_size,
        pad_small_map=True,
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
    ),
)
