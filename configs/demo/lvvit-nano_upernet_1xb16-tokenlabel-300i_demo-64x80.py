# UperNet on the nano LV-ViT that token labels pretrained, fine-tuned on the demo's masks.
#
# Command:   mim train mmsegmentation configs/demo/lvvit-nano_upernet_1xb16-tokenlabel-300i_demo-64x80.py --gpus 0
# Needs:     work_dirs/demo/token_labels/epoch_6.pth
# Batch:     1 CPU x 16 images, lr 1e-3
# Length:    300 steps x 16 images = 1.6 epochs of 3000 images
# Measured:  `mmtl demo` runs it and reports the result
_base_ = [
    "../_base_/segment_runtime.py",
    "../_base_/datasets/demo_segmentation.py",
    "../_base_/models/lvvit/nano_demo.py",
    "../_base_/models/lvvit/upernet_nano.py",
    "../_base_/schedules/segment_adamw.py",
]
work_dir = "work_dirs/demo/segmentation_token_labels"
pretrained = "work_dirs/demo/token_labels/epoch_6.pth"

model = dict(
    data_preprocessor=dict(size=_base_.image_hw),
    backbone=dict(_base_.nano, init_cfg=dict(checkpoint=pretrained)),
    neck=dict(rescales=[4, 2, 1, 0.5]),
    decode_head=dict(pool_scales=(1, 2, 3), num_classes=_base_.num_classes),
    # Images of other sizes are padded to full patches, in pairs, as the last level of the pyramid halves them.
    test_cfg=dict(size_divisor=2 * _base_.nano.patch_size),
)

max_iters, warmup_iters = 300, 50
optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(
        _delete_=True,
        norm_decay_mult=0.0,
        custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    dict(_base_.warmup, start_factor=1e-3, end=warmup_iters),
    dict(_base_.decay, begin=warmup_iters, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=100)
default_hooks = dict(checkpoint=dict(interval=30))
