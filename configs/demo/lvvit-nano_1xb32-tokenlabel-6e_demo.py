# Nano LV-ViT trained with token labels and MixToken on the demo's data set.
#
# Command:  mim train mmpretrain configs/demo/lvvit-nano_1xb32-tokenlabel-6e_demo.py --gpus 0
# Needs:    work_dirs/demo/score_maps, made by the annotator (tools/demo.py shows the command)
# Length:   6 epochs x 3000 / 32 images = 564 steps
_base_ = [
    "../_base_/pretrain_runtime.py",
    "../_base_/datasets/demo_classification.py",
    "../_base_/models/lvvit/nano_demo.py",
]
work_dir = "work_dirs/demo/token_labels"
score_maps = "work_dirs/demo/score_maps"

train_pipeline = [
    dict(type="mmtl.LoadImageFromFile"),
    dict(type="mmtl.LoadScoreMap", store=score_maps, image_root="data/demo/classification/train", num_classes=8),
    dict(type="mmtl.RandomResizedCrop", scale={{_base_.image_hw}}, crop_ratio_range=(0.5, 1.0)),
    dict(type="mmtl.RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="mmtl.PackTokenLabelInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    type="mmtl.TokenLabelClassifier",
    backbone={{_base_.nano}},
    head=dict(
        type="mmtl.TokenLabelHead",
        num_classes={{_base_.num_classes}},
        in_channels=96,
        beta=0.5,
        predict_weight=0.0,  # an image holds several classes, so the best patch token may well be of another one
    ),
    data_preprocessor=dict(
        type="mmtl.TokenLabelDataPreprocessor",
        num_classes={{_base_.num_classes}},
        mean={{_base_.mean_rgb}},
        std={{_base_.std_rgb}},
        to_rgb=True,
        tail="probability",
        smoothing=0.1,
        batch_augments=dict(augments=[dict(type="mmtl.MixToken")], probs=[0.5]),  # of batches: the run is short
    ),
)

epochs, warmup_epochs, max_lr = 6, 2, 1e-3
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=max_lr, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.04, end=warmup_epochs, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=warmup_epochs, end=epochs, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
