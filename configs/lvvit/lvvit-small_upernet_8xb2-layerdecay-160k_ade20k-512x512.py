# UperNet on LV-ViT-S for ADE20K at 512 x 512 with layer-wise learning-rate decay: block i learns at 0.9 ** (16 - i)
# times the rate of neck and heads, which keep the 6e-5. Not in the paper, the 0.9 is our choice. Not yet run.
#
# Command:   mim train mmsegmentation configs/lvvit/lvvit-small_upernet_8xb2-layerdecay-160k_ade20k-512x512.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/lvvit-small_8xb128-tokenlabel-300e_in1k/epoch_310.pth
_base_ = ["./lvvit-small_upernet_8xb2-160k_ade20k-512x512.py"]
optim_wrapper = dict(
    constructor="mmtl.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
