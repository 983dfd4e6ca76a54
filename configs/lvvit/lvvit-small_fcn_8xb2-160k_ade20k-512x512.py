# FCN on LV-ViT-S for ADE20K at 512 x 512. One 3x3 convolution on the last block's map at stride 8: a light head that
# shows what the backbone itself has learned. The side layers have the released FCN form; the released code has no
# config for it, so the head is ours: 256 channels as UperNet, no second convolution.
#
# Paper:     not in the paper
# Command:   mim train mmsegmentation configs/lvvit/lvvit-small_fcn_8xb2-160k_ade20k-512x512.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/lvvit-small_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 2 = 16 images, lr 6e-5
# Length:    160k steps = 127 epochs of 20,210 images
# Measured:  not yet run
_base_ = "lvvit-small_upernet_8xb2-160k_ade20k-512x512.py"
model = dict(
    neck=dict(form="fcn"),
    decode_head=dict(
        _base_.head,
        _delete_=True,
        type="FCNHead",
        in_channels=2048,
        in_index=3,
        channels=256,
        num_convs=1,
        concat_input=False,
        norm_cfg=_base_.norm_cfg,
    ),
)
