# Fine-tuning of VOLO on ImageNet at a larger image size; a recipe adds the dataset, the model's sizes and the batch.
# The class token learns from a blend of label and map, as with the released --ground-truth.
_base_ = [
    "models/token_labeling.py",
    "schedules/imagenet_adamw_finetune_cosine_30e.py",
    "pretrain_runtime.py",
]
model = dict(backbone=dict(type="mmtl.VOLO"), head=dict(beta=0.5), data_preprocessor=dict(class_target="both"))
