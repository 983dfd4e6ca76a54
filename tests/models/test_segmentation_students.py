"""DeiT and Swin students of token labeling become backbones of segmentors, with layer-wise decay."""

import pytest
import torch
from helpers import tiny_segmentation as tiny
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

VIT = dict(
    type="mmpretrain.VisionTransformer",
    arch=dict(embed_dims=24, num_layers=4, num_heads=2, feedforward_channels=48),
    img_size=32,
    patch_size=8,
)
SWIN = dict(
    type="mmpretrain.SwinTransformer",
    arch=dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8)),
    img_size=32,
    window_size=2,
    pad_small_map=True,
)


@pytest.mark.parametrize(
    ("backbone", "classifier", "segmentor", "channels"),
    [
        (VIT, dict(out_type="raw"), dict(out_type="featmap", out_indices=(1, 3)), 24),
        (SWIN, dict(), dict(out_indices=(0, 1, 2, 3)), 64),
    ],
)
def test_a_student_is_fine_tuned_from_its_pretraining_checkpoint(tmp_path, backbone, classifier, segmentor, channels):
    model = dict(
        type="mmtl.TokenLabelClassifier",
        backbone=backbone | classifier,
        head=dict(type="mmtl.TokenLabelHead", num_classes=5, in_channels=channels),
    )
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        state = MODELS.build(model).state_dict()
    torch.save(dict(state_dict=state), tmp_path / "student.pth")
    tiny.write_data(tmp_path)
    cfg = Config.fromfile(tiny.write_config(tmp_path))
    cfg.merge_from_dict(dict(model=dict(backbone=dict(backbone | segmentor, _delete_=True))))
    cfg.model.decode_head.update(in_channels=channels, in_index=-1)
    cfg.optim_wrapper = dict(
        optimizer=dict(type="AdamW", lr=1e-8, weight_decay=0.0),
        constructor="mmtl.LayerDecayOptimWrapperConstructor",
        paramwise_cfg=dict(layer_decay_rate=0.5),
    )
    cfg.load_from, cfg.work_dir = str(tmp_path / "student.pth"), str(tmp_path / "run")
    cfg.experiment_name = f"student_{tmp_path.name}"
    cfg.default_hooks = dict(weights=dict(type="mmtl.PretrainedWeightsHook"))
    cfg.custom_hooks = [dict(type="mmtl.CheckAnnotationsHook")]
    runner = Runner.from_cfg(cfg)
    runner.train()
    trained = runner.model.state_dict()
    loaded = [name for name in state if name.startswith("backbone.") and name in trained]
    assert all(torch.allclose(trained[name].float(), state[name].float(), atol=1e-5) for name in loaded)
    assert len({group["lr"] for group in runner.optim_wrapper.optimizer.param_groups}) >= 5
