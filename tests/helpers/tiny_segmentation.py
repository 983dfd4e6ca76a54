"""A segmentor of four 8 x 8 patches and three classes with synthetic data; one step takes a few milliseconds."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

CLASSES = ("ground", "disc", "bar")
TEXT = """
default_scope = "mmseg"
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor", mean=[120.0] * 3, std=[60.0] * 3, bgr_to_rgb=True, size=(32, 32), pad_val=0,
        seg_pad_val=255, test_cfg=dict(size=(32, 32)),
    ),
    backbone=dict(
        type="mmtl.LVViT",
        arch=dict(
            embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=16, stem_channels=None, residual_divisor=1
        ),
        img_size=32,
        patch_size=8,
        out_type="featmap",
        out_indices=(1,),
    ),
    decode_head=dict(
        type="FCNHead", in_channels=8, in_index=0, channels=8, num_convs=1, concat_input=False, dropout_ratio=0.0,
        num_classes=3, norm_cfg=dict(type="BN"), align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="slide", crop_size=(32, 32), stride=(24, 24)),
)
metainfo = dict(classes={classes}, palette=[[90, 90, 90], [230, 159, 0], [0, 114, 178]])
dataset = dict(
    type="mmtl.BaseSegDataset", data_root="{root}", metainfo=metainfo, img_suffix=".png", reduce_zero_label={reduce},
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        data_prefix=dict(img_path="images/train", seg_map_path="annotations/train"),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations"),
            dict(type="RandomCrop", crop_size=(32, 32)),
            dict(type="PackSegInputs"),
        ],
        **dataset,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        data_prefix=dict(img_path="images/val", seg_map_path="annotations/val"),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(160, 40), keep_ratio=True),
            dict(type="LoadAnnotations"),
            dict(type="PackSegInputs"),
        ],
        **dataset,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.01))
train_cfg = dict(type="IterBasedTrainLoop", max_iters=2, val_interval=2)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
vis_backends = [dict(type="LocalVisBackend")]
visualizer = dict(type="SegLocalVisualizer", vis_backends=vis_backends)
"""


def write_config(root: Path, reduce_zero_label: bool = False, classes: tuple[str, ...] = CLASSES) -> Path:
    """Write the config of the segmentor with its data under ``root``, and return its path."""
    path = root / "tiny.py"
    text = TEXT.replace("{root}", root.as_posix()).replace("{classes}", repr(classes))
    path.write_text(text.replace("{reduce}", repr(reduce_zero_label)))
    return path


def make_pair(hw: tuple[int, int], seed: int, first_label: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of a disc and a bar, BGR [H, W, 3], and its labels [H, W]."""
    labels = np.full(hw, first_label, np.uint8)
    cv2.circle(labels, (hw[1] // 3, hw[0] // 2), hw[0] // 4, first_label + 1, -1)
    cv2.rectangle(labels, (hw[1] * 2 // 3, 2), (hw[1] * 3 // 4, hw[0] - 3), first_label + 2, -1)
    noise = np.random.default_rng(seed).normal(0, 10, (*hw, 3))
    image = (60 + 70 * (labels[..., None] - first_label) + noise).clip(0, 255).astype(np.uint8)
    return image, labels


def write_data(root: Path, first_label: int = 0) -> None:
    """Write four training and three validation pairs of 40 x 56 pixels."""
    for split, count in (("train", 4), ("val", 3)):
        for kind in ("images", "annotations"):
            (root / kind / split).mkdir(parents=True)
        for index in range(count):
            pair = make_pair((40, 56), index, first_label)
            for kind, array in zip(("images", "annotations"), pair, strict=True):
                cv2.imwrite(str(root / kind / split / f"{index}.png"), array)


def save_checkpoint(config: Path, path: Path, with_classes: bool = True) -> Path:
    """Save random weights of the config's model as mmengine does, and return the path."""
    torch.manual_seed(2)
    cfg = Config.fromfile(config)
    with DefaultScope.overwrite_default_scope("mmseg"):
        state = MODELS.build(cfg.model).state_dict()
    for value in state.values():  # large enough that every class is predicted somewhere
        if value.ndim == 4:
            torch.nn.init.normal_(value, std=0.3)
    meta = dict(dataset_meta=dict(cfg.metainfo)) if with_classes else {}
    torch.save(dict(state_dict=state, meta=meta), path)
    return path
