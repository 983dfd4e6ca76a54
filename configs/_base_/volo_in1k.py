# VOLO on ImageNet at 224 x 224 with token labels and MixToken; a recipe adds the arch, its drop path and max_lr.
#
# Source: released main.py and commands (sail-sg/volo, README). As LV-ViT's released training, except for a warm-up of
# 20 epochs, a token loss of weight 0.5, validation crop 0.96, and no average of the weights. The class token learns
# from the pooled map, as there.
_base_ = "token_labeling_in1k.py"
warmup_epochs = 20
model = dict(
    backbone=dict(type="mmtl.VOLO", img_size=224),
    head=dict(beta=0.5),
    data_preprocessor=dict(class_target="map"),
)
test_steps = _base_.test_steps
test_steps.resize.update(scale=int(_base_.img_size / 0.96))
test_pipeline = list(test_steps.values())
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
warmup = dict(_base_.warmup, end=warmup_epochs, start_factor=_base_.warmup_lr / _base_.max_lr)
cosine = dict(_base_.cosine, begin=warmup_epochs, eta_min_ratio=_base_.min_lr / _base_.max_lr)
param_scheduler = [warmup, cosine]
custom_hooks = []
