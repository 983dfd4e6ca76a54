# Segmenter's linear head on LV-ViT-S for ADE20K at 512 x 512. A 1x1 convolution on the normalized tokens of the last
# block, with logits upsampled 16 times: the smallest head of all. Schedule and window are those of the other recipes;
# Segmenter's own are SGD and a stride of 480.
#
# Paper:     Segmenter, arXiv 2105.05633 (head)
# Command:   mim train mmsegmentation configs/lvvit/lvvit-small_linear_8xb2-160k_ade20k-512x512.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/lvvit-small_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 2 = 16 images, lr 6e-5
# Length:    160k steps = 127 epochs of 20,210 images
# Measured:  not yet run
_base_ = "lvvit-small_upernet_8xb2-160k_ade20k-512x512.py"
linear = dict(type="FCNHead", in_channels=384, channels=384, num_convs=0, concat_input=False, dropout_ratio=0.0)
model = dict(
    # The pretrained final norm is kept, with the epsilon that it was trained with.
    backbone=dict(out_indices=-1, final_norm=True, norm_cfg=dict(eps=1e-5)),
    neck=None,
    decode_head=dict(_base_.head, _delete_=True, **linear),
    auxiliary_head=None,
)
