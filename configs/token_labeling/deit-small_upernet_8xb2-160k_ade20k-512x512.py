# UperNet on DeiT-S (mmpretrain's VisionTransformer) for ADE20K at 512 x 512, with Feature2Pyramid on four of its
# blocks: strides 4, 8, 16 and 32.
#
# Paper:     not in the paper
# Command:   mim train mmsegmentation configs/token_labeling/deit-small_upernet_8xb2-160k_ade20k-512x512.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/deit-small_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 2 = 16 images, lr 6e-5
# Length:    160k steps = 127 epochs of 20,210 images
# Measured:  not yet run
_base_ = "timm_upernet_8xb2-160k_ade20k-512x512.py"
model = dict(
    backbone=dict(
        _delete_=True,
        type="mmpretrain.VisionTransformer",
        arch="deit-small",
        img_size=_base_.crop_size,
        patch_size=16,
        out_type="featmap",
        out_indices=(2, 5, 8, 11),
        drop_path_rate=0.1,
    ),
)
