# FCN on LV-ViT-L for ADE20K at 512 x 512, as the recipe of LV-ViT-S.
#
# Paper:     not in the paper
# Command:   mim train mmsegmentation configs/lvvit/lvvit-large_fcn_8xb2-160k_ade20k-512x512.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/lvvit-large_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 2 = 16 images, lr 6e-5
# Length:    160k steps = 127 epochs of 20,210 images
# Measured:  not yet run
_base_ = ["./lvvit-small_fcn_8xb2-160k_ade20k-512x512.py"]
model = dict(
    backbone=dict(arch="large", out_indices=(14, 17, 20, 23), drop_path_rate=0.3),
    neck=dict(in_channels=768),
    decode_head=dict(channels=512),
    auxiliary_head=dict(in_channels=768, channels=512),
)
