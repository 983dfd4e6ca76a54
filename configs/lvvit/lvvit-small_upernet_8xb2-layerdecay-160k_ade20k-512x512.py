# UperNet on LV-ViT-S for ADE20K at 512 x 512 with layer-wise learning-rate decay: block i learns at 0.9 ** (16 - i)
# times the rate of neck and heads, which keep the 6e-5. The 0.9 is our choice.
#
# Paper:     not in the paper
# Command:   mim train mmsegmentation configs/lvvit/lvvit-small_upernet_8xb2-layerdecay-160k_ade20k-512x512.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/lvvit-small_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Batch:     8 GPUs x 2 = 16 images, lr 6e-5
# Length:    160k steps = 127 epochs of 20,210 images
# Measured:  not yet run
_base_ = ["./lvvit-small_upernet_8xb2-160k_ade20k-512x512.py"]
optim_wrapper = dict(
    constructor="mmtl.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
