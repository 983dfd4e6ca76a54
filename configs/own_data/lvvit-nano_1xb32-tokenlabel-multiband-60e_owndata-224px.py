# LV-ViT with token labels on your own images of any number of channels and bits: gray, RGB and near infrared, 16 bit,
# satellite images of 13 bands. The student of lvvit-nano_1xb32-tokenlabel-60e_owndata-224px.py with other images.
#
# Data:      class folders of .tif or .png files; docs/own_data.md shows how to compute mean and std
# Command:   mmtl train configs/own_data/lvvit-nano_1xb32-tokenlabel-multiband-60e_owndata-224px.py
# Needs:     score_maps, made of the training images by `mmtl make_score_maps` with a teacher of as many channels
# Batch:     1 GPU or CPU x 32 images, lr 1e-3
# Measured:  not yet run
_base_ = "lvvit-nano_1xb32-tokenlabel-60e_owndata-224px.py"
in_channels = 4
# "cv2": up to four channels, in the order blue, green, red; "tifffile" (pip install tifffile): TIFFs of any number, in
# the order of the file. Values of other than 8 bit stay as they are, as float32.
decoder = "cv2"
mean, std = in_channels * [1000.0], in_channels * [500.0]  # of each channel, in the unit of the files
input_weights = "mean"  # how an RGB checkpoint is loaded; "first": its weights of the first three channels

load_image = dict(type="mmtl.LoadImageFromFile", color_type="unchanged", imdecode_backend=decoder)
# No color operations: such images can be flipped, rotated, sheared, translated and erased.
train_pipeline = [load_image, *_base_.train_pipeline[1:]]
test_pipeline = [load_image, *_base_.test_pipeline[1:]]
suffixes = (".tif", ".tiff", ".png")
train_dataloader = dict(dataset=dict(extensions=suffixes, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(extensions=suffixes, pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(
    backbone=dict(in_channels=in_channels, input_weights=input_weights),
    data_preprocessor=dict(mean=mean, std=std, to_rgb=False),
)
