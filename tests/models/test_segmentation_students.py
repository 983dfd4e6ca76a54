"""DeiT, Swin and timm students of token labeling become backbones of segmentors, with layer-wise decay."""

import pytest
import torch
from helpers import tiny_segmentation as tiny
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmpretrain.registry import MODELS
from mmseg.registry import MODELS as MMSEG_MODELS
from mmseg.structures import SegDataSample

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
OURS = dict(constructor="mmtl.LayerDecayOptimWrapperConstructor", paramwise_cfg=dict(layer_decay_rate=0.5))


def trained(cfg, tmp_path):
    """Train with the hooks of the recipes that could stop what plain MMSegmentation runs."""
    cfg.work_dir, cfg.experiment_name = str(tmp_path / "run"), f"student_{tmp_path.name}"
    cfg.default_hooks = dict(weights=dict(type="mmtl.PretrainedWeightsHook"))
    cfg.custom_hooks = [dict(type="mmtl.CheckAnnotationsHook"), dict(type="mmtl.CheckSettingsHook")]
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


TIMM = dict(type="mmtl.TimmBackbone", img_size=32)
TIMM_VIT = dict(
    TIMM, model_name="vit_tiny_patch16_224", depth=4, embed_dim=24, num_heads=2, patch_size=8, drop_path_rate=0.0
)
TIMM_SWIN = dict(
    TIMM, model_name="swin_tiny_patch4_window7_224", depths=(1, 1, 1), embed_dim=8, num_heads=(1, 2, 2), window_size=2
)


@pytest.mark.parametrize(
    ("backbone", "classifier", "segmentor", "channels"),
    [
        (VIT, dict(out_type="raw"), dict(out_type="featmap", out_indices=(1, 3)), 24),
        (SWIN, dict(), dict(out_indices=(0, 1, 2, 3)), 64),
        (TIMM_VIT, dict(), dict(out_type="featmap"), 24),
        (TIMM_SWIN, dict(), dict(out_type="featmap"), 32),
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
    cfg.optim_wrapper = dict(OURS, optimizer=dict(type="AdamW", lr=1e-8, weight_decay=0.0))
    cfg.load_from = str(tmp_path / "student.pth")
    runner = trained(cfg, tmp_path)
    weights = runner.model.state_dict()
    loaded = [name for name in state if name.startswith("backbone.") and name in weights]
    assert all(torch.allclose(weights[name].float(), state[name].float(), atol=1e-5) for name in loaded)
    assert len({group["lr"] for group in runner.optim_wrapper.optimizer.param_groups}) >= 5
    assert 0 <= runner.message_hub.get_scalar("val/mIoU").current() <= 100


METAINFO = dict(img_shape=(70, 50), ori_shape=(70, 50))
UPERNET = dict(
    neck=dict(type="Feature2Pyramid", norm_cfg=dict(type="BN")),
    decode_head=dict(
        type="UPerHead", pool_scales=(1, 2), channels=8, num_classes=3, norm_cfg=dict(type="BN"), align_corners=False
    ),
    auxiliary_head=dict(type="FCNHead", in_index=-2, channels=8, num_convs=1, num_classes=3, norm_cfg=dict(type="BN")),
    test_cfg=dict(mode="whole", size_divisor=32),
)


@pytest.mark.parametrize(
    ("backbone", "channels", "has_pyramid"),
    [
        (dict(VIT, out_type="featmap", out_indices=(0, 1, 2, 3)), [24] * 4, True),
        (dict(TIMM_VIT, out_type="featmap"), [24] * 4, True),
        (dict(SWIN, out_indices=(0, 1, 2, 3)), [8, 16, 32, 64], False),
        (dict(TIMM_SWIN, out_type="featmap"), [8, 16, 32], False),
        (dict(TIMM, model_name="resnet10t", channels=(8, 8, 8, 16), out_type="featmap"), [8, 8, 8, 16], False),
    ],
)
def test_one_upernet_fits_any_student(backbone, channels, has_pyramid):
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MMSEG_MODELS.build(
            ConfigDict(UPERNET, type="mmtl.EncoderDecoder", backbone=backbone, train_cfg=dict())
        )
    assert model.with_neck == has_pyramid and list(model.decode_head.in_channels) == channels
    assert model.auxiliary_head.in_channels == channels[-2]
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(3, (1, 64, 64))), metainfo=dict(img_shape=(64, 64)))
    losses = model(torch.randn(2, 3, 64, 64), [sample, sample], mode="loss")
    sum(value for name, value in losses.items() if "loss" in name).backward()
    assert all(p.grad is not None for p in model.backbone.parameters() if p.requires_grad)
    (found,) = model.eval()(torch.randn(1, 3, 70, 50), [SegDataSample(metainfo=METAINFO)], mode="predict")
    assert found.pred_sem_seg.data.shape == (1, 70, 50)


def test_windows_are_padded_to_the_size_of_a_backbone_that_takes_no_other():
    backbone = dict(TIMM_VIT, model_name="beit_base_patch16_224", img_size=(64, 96), out_type="featmap")
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MMSEG_MODELS.build(ConfigDict(UPERNET, type="mmtl.EncoderDecoder", backbone=backbone)).eval()
    image = torch.randn(1, 3, 64, 50)
    found = model.encode_decode(image, [METAINFO])
    padded = model.encode_decode(torch.nn.functional.pad(image, (0, 46)), [METAINFO])
    torch.testing.assert_close(found, padded[..., :50])


@pytest.mark.parametrize("door", ["load_from", "init_cfg"])
def test_mmsegmentations_own_backbone_and_layer_decay_train_from_its_checkpoint(tmp_path, door):
    tiny.write_data(tmp_path)
    cfg = Config.fromfile(tiny.write_config(tmp_path))
    beit = dict(type="mmseg.BEiT", embed_dims=24, num_layers=2, num_heads=2, patch_size=8, img_size=32)
    beit |= dict(out_indices=(1,), init_values=0.1)
    with DefaultScope.overwrite_default_scope("mmseg"):
        state = MODELS.build(beit).state_dict()
    prefix = "backbone." * (door == "load_from")
    torch.save(dict(state_dict={prefix + name: value for name, value in state.items()}), tmp_path / "beit.pth")
    if door == "load_from":
        cfg.load_from = str(tmp_path / "beit.pth")
    else:
        beit["init_cfg"] = dict(type="Pretrained", checkpoint=str(tmp_path / "beit.pth"))
    cfg.merge_from_dict(dict(model=dict(backbone=dict(beit, _delete_=True))))
    cfg.model.decode_head.in_channels = 24
    decay = dict(num_layers=2, decay_rate=0.5, decay_type="layer_wise")
    optimizer = dict(type="AdamW", lr=1e-8, weight_decay=0.0)
    constructor = "mmseg.LearningRateDecayOptimizerConstructor"
    cfg.optim_wrapper = dict(optimizer=optimizer, constructor=constructor, paramwise_cfg=decay)
    runner = trained(cfg, tmp_path)
    weights = runner.model.backbone.state_dict()
    assert all(torch.allclose(weights[name].float(), value.float(), atol=1e-5) for name, value in state.items())
    assert len({group["lr"] for group in runner.optim_wrapper.optimizer.param_groups}) >= 3


@pytest.mark.parametrize(("backbone", "channels"), [(VIT, 24), (SWIN, 64)], ids=["vit", "swin"])
def test_mmpretrains_own_classifier_and_layer_decay_start_from_a_checkpoint(tmp_path, backbone, channels):
    head = dict(type="LinearClsHead", num_classes=5, in_channels=channels)
    neck = None if backbone is VIT else dict(type="GlobalAveragePooling")
    if backbone is VIT:
        head = dict(type="VisionTransformerClsHead", num_classes=5, in_channels=channels)
    runner = Runner(
        model=dict(type="ImageClassifier", backbone=backbone, neck=neck, head=head),
        work_dir=str(tmp_path),
        default_scope="mmpretrain",
        custom_hooks=[dict(type="mmtl.PretrainedWeightsHook")],
        experiment_name=f"classifier_{tmp_path.name}",
    )
    state = {name: torch.randn_like(value.float()) for name, value in runner.model.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / "a.pth")
    runner.load_checkpoint(str(tmp_path / "a.pth"))
    name = "backbone.patch_embed.projection.weight"
    assert torch.equal(runner.model.state_dict()[name], state[name])
    constructor = "mmpretrain.LearningRateDecayOptimWrapperConstructor"
    cfg = dict(OURS, constructor=constructor, optimizer=dict(type="AdamW", lr=1.0, weight_decay=0.05))
    groups = runner.build_optim_wrapper(cfg).optimizer.param_groups
    assert {group["lr"] for group in groups} == {0.5**power for power in range(6)}
