# Nano LV-ViT trained with token labels and MixToken on the demo's dataset.
#
# Command:   mim train mmpretrain configs/demo/lvvit-nano_1xb32-tokenlabel-6e_demo.py --gpus 0
# Needs:     work_dirs/demo/score_maps, made by the annotator (`mmtl demo` shows the command)
# Batch:     1 CPU x 32 images, lr 1e-3
# Length:    6 epochs x 3000 / 32 images = 564 steps
# Measured:  `mmtl demo` runs it and reports the result
_base_ = [
    "../_base_/pretrain_runtime.py",
    "../_base_/datasets/demo_classification.py",
    "../_base_/models/lvvit/nano_demo.py",
    "../_base_/schedules/adamw_by_epoch.py",
]
work_dir = "work_dirs/demo/token_labels"
score_maps = "work_dirs/demo/score_maps"

steps = _base_.train_steps
train_steps = dict(
    load_image=steps.load_image,
    load_score_map=dict(type="mmtl.LoadScoreMap", store=score_maps, num_classes=_base_.num_classes),
    crop=dict(steps.crop, type="mmtl.RandomResizedCrop"),
    flip=dict(steps.flip, type="mmtl.RandomFlip"),
    pack=dict(type="mmtl.PackTokenLabelInputs"),
)
train_pipeline = list(train_steps.values())
train_dataloader = dict(
    collate_fn=dict(type="mmtl.collate_training_batch", num_classes=_base_.num_classes),
    dataset=dict(pipeline=train_pipeline),
)

model = dict(
    type="mmtl.TokenLabelClassifier",
    backbone=_base_.nano,
    head=dict(
        type="mmtl.TokenLabelHead",
        num_classes=_base_.num_classes,
        in_channels=96,
        beta=0.5,
        predict_weight=0.0,  # an image contains several classes, so the best patch token may be of another one
    ),
    data_preprocessor=dict(
        type="mmtl.TokenLabelDataPreprocessor",
        num_classes=_base_.num_classes,
        mean=_base_.mean_rgb,
        std=_base_.std_rgb,
        to_rgb=True,
        tail="probability",
        smoothing=0.1,
        batch_augments=dict(augments=[dict(type="mmtl.MixToken")], probs=[0.5]),  # half of the batches: a short run
    ),
)

epochs, warmup_epochs = 6, 2
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.04, end=warmup_epochs, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=warmup_epochs, end=epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=epochs)
