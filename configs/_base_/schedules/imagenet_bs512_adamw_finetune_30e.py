# Fine-tuning at a larger image size, released values for S at 384: AdamW, constant 5e-6 for a batch of 512, weight
# decay 1e-8, no average of the weights. Ours: the length (the released command leaves it at 300 epochs), and no
# warm-up (there: 5 epochs from 1e-6).
#
# To average the weights too, add to a recipe, with `ema` of imagenet_adamw.py:
# custom_hooks = [dict(_base_.ema, base_steps=_base_.epochs * _base_.steps_per_epoch)]
_base_ = "imagenet_adamw.py"
epochs, steps_per_epoch = 30, 2502  # 1,281,167 images / 512; an incomplete last batch is dropped

optim_wrapper = dict(optimizer=dict(lr=5e-6, weight_decay=1e-8))
param_scheduler = []
train_cfg = dict(max_epochs=epochs)
auto_scale_lr = dict(base_batch_size=512)
