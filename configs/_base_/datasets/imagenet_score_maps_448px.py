# ImageNet at 448 x 448, 64 images per GPU, tested on the full image (crop 1.0).
_base_ = "imagenet_score_maps.py"
img_size = 448
train_steps, test_steps = _base_.train_steps, _base_.test_steps
train_steps.crop.update(scale=img_size)
test_steps.resize.update(scale=img_size)
test_steps.crop.update(crop_size=img_size)
train_pipeline, test_pipeline = list(train_steps.values()), list(test_steps.values())
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
