# FCN on LV-ViT-S for ADE20K at 512 x 512: one 3x3 convolution on the last block's map at stride 8. A light head that
# shows what the backbone itself has learnt. Side layers in the released FCN form; the released code has no config for
# it, so the head is ours: 256 channels as UperNet, no second convolution. Not yet run.
#
# Command:   mim train mmsegmentation configs/lvvit/lvvit-small_fcn_8xb2-160k_ade20k-512x512.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/lvvit-small_8xb128-tokenlabel-300e_in1k/epoch_310.pth
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
