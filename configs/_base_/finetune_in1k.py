# Fine-tuning on ImageNet at a larger image size: schedule and runtime; a recipe adds the model and the dataset.
_base_ = ["schedules/imagenet_bs512_adamw_finetune_30e.py", "pretrain_runtime.py"]
