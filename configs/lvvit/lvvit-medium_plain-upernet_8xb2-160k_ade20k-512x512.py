# UperNet on LV-ViT-M for ADE20K at 512 x 512 with MMSegmentation's plain pyramid in place of the side layers: strides
# 4, 8, 16 and 32, all of 512 channels.
#
# Paper:     not in the paper
# Command:   mim train mmsegmentation configs/lvvit/lvvit-medium_plain-upernet_8xb2-160k_ade20k-512x512.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/lvvit-medium_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 2 = 16 images, lr 6e-5
# Length:    160k steps = 127 epochs of 20,210 images
# Measured:  not yet run
_base_ = "lvvit-medium_upernet_8xb2-160k_ade20k-512x512.py"
pyramid = dict(type="Feature2Pyramid", embed_dim=512, rescales=[4, 2, 1, 0.5], norm_cfg=_base_.norm_cfg)
model = dict(neck=dict(pyramid, _delete_=True), decode_head=dict(in_channels=4 * [512]))
