# Only for the released weights of UperNet on LV-ViT-L: they were trained with a residual divisor of 1 and the position
# embedding of 448 pixels, which is resized for every crop. Train with lvvit-large_upernet_8xb2-160k_ade20k-512x512.py,
# whose divisor is that of the pretrained backbone.
#
# Paper:     All Tokens Matter, arXiv 2104.10858
# Command:   mim test mmsegmentation configs/lvvit/lvvit-large-released_upernet_8xb2-160k_ade20k-512x512.py
#            --checkpoint https://github.com/zihangJiang/TokenLabeling/releases/download/v1.1-seg/upernet_lvvit_l.pth
# Quoted:    50.9 mIoU, 51.8 with multi-scale and flip (paper)
# Measured:  not yet run
_base_ = ["./lvvit-large_upernet_8xb2-160k_ade20k-512x512.py"]
arch = dict(
    embed_dims=768, num_layers=24, num_heads=12, feedforward_channels=2304, stem_channels=128, residual_divisor=1
)
model = dict(backbone=dict(img_size=448, arch=dict(arch, _delete_=True)))
