# LV-ViT-S fine-tuned on another dataset without score maps: CIFAR-100 as class folders, enlarged to 224 x 224.
#
# Paper:     All Tokens Matter, arXiv 2104.10858; the released command sets the weight of the patch tokens to 0
# Needs:     data/cifar100/{train,val}/<class>/*.png
# Command:   mim train mmpretrain configs/lvvit/lvvit-small_8xb64-classlabel-100e_cifar100.py
#            --launcher pytorch --gpus 8 --amp
#            --cfg-options load_from=work_dirs/lvvit-small_8xb128-tokenlabel-300e_in1k/epoch_310.pth
# Other:     any class folders, such as Oxford Flowers (102 classes, 2040 images) on one GPU: --auto-scale-lr
#            --cfg-options model.head.num_classes=102 data_root=data/flowers102
# Batch:     8 GPUs x 64 = 512 images, lr 1e-4
# Length:    100 epochs = 100 x 97 (50,000 images / 512) = 9,700 steps
# Measured:  not yet run
_base_ = [
    "../_base_/models/lvvit/small.py",
    "../_base_/datasets/imagenet_score_maps.py",
    "../_base_/schedules/folders_bs512_adamw_finetune_100e.py",
    "../_base_/pretrain_runtime.py",
]
data_root = "data/cifar100"
model = dict(head=dict(num_classes=100, beta=0.0))

train_steps = _base_.train_steps
train_steps.load_score_map.update(store=None, num_classes=None)
train_pipeline = list(train_steps.values())
folders = dict(_delete_=True, type="CustomDataset", data_root=data_root)
train_dataloader = dict(
    batch_size=64,
    collate_fn=dict(num_classes=None),  # of any dataset
    dataset=dict(folders, data_prefix="train", pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(folders, data_prefix="val", pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
