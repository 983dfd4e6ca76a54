# The dataset of `mmtl make_demo_data` for classification: images of 64 x 80 pixels (H x W), not cropped for tests.
_base_ = "class_folders.py"
data_root = "data/demo/classification"
num_classes = 8
image_hw = (64, 80)
mean_rgb, std_rgb = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]

train_steps = _base_.train_steps
train_steps.crop.update(scale=image_hw)
train_dataloader = dict(batch_size=32, dataset=dict(data_root=data_root, pipeline=list(train_steps.values())))
val_dataloader = dict(batch_size=96, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
