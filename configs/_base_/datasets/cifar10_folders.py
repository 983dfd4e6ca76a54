# CIFAR-10 as class folders of 32 x 32 images: {data_root}/{train,val}/{class}/*.jpg. Any folders of small images fit.
_base_ = "class_folders.py"
data_root = "data/cifar10"
num_classes = 10
img_size = 32
mean_rgb, std_rgb = [125.3, 123.0, 113.9], [63.0, 62.1, 66.7]

train_steps = _base_.train_steps
train_steps.crop.update(scale=img_size)
train_dataloader = dict(batch_size=128, dataset=dict(data_root=data_root, pipeline=list(train_steps.values())))
val_dataloader = dict(batch_size=250, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
