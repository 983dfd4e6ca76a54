"""load_from loads a pretraining checkpoint into a segmentor, logs what it loaded, and never loads nothing."""

import itertools
from pathlib import Path

import pytest
import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from mmpretrain.models.utils import resize_pos_embed
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader, Dataset

from mmtl.engine.hooks import PretrainedWeightsHook
from mmtl.models.lvvit.released_weights import convert_to_released

NANO = dict(embed_dims=12, num_layers=2, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=2)
CLASSIFIER = dict(
    type="mmtl.TokenLabelClassifier",
    backbone=dict(type="mmtl.LVViT", arch=NANO, img_size=32),
    head=dict(type="mmtl.TokenLabelHead", num_classes=5, in_channels=12),
    data_preprocessor=dict(type="mmtl.TokenLabelDataPreprocessor", num_classes=5),
)
SEGMENTOR = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="SegDataPreProcessor", size=(32, 48)),
    backbone=dict(type="mmtl.LVViT", arch=NANO, img_size=(32, 48), out_type="featmap", final_norm=False),
    decode_head=dict(type="FCNHead", in_channels=12, channels=8, num_convs=1, num_classes=3, norm_cfg=dict(type="BN")),
    test_cfg=dict(mode="whole"),
)
SQUARE = SEGMENTOR["backbone"] | dict(img_size=32)
names = itertools.count()


class OneClass(Dataset):
    """Four random images of one class."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict:
        image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(index))
        return dict(inputs=image, data_samples=DataSample().set_gt_label(1))


def build_runner(work_dir: Path, model: dict, scope: str = "mmseg", hooks: tuple = (), **kwargs) -> Runner:
    return Runner(
        model=model,
        work_dir=str(work_dir),
        default_scope=scope,
        custom_hooks=[dict(type="mmtl.PretrainedWeightsHook"), *hooks],
        experiment_name=f"pretrained_{next(names)}",
        **kwargs,
    )


def pretrain(work_dir: Path, steps: int, **kwargs) -> Runner:
    """Train a classifier with averaged weights, far from the plain ones; the last step is saved."""
    loader = DataLoader(OneClass(), batch_size=2, collate_fn=list_collate)
    runner = build_runner(
        work_dir,
        CLASSIFIER,
        "mmpretrain",
        hooks=(dict(type="EMAHook", momentum=0.5, update_buffers=True),),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=False, max_iters=steps),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.01)),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=steps)),
        **kwargs,
    )
    runner.train()
    return runner


def list_collate(samples: list[dict]) -> dict:
    return {key: [sample[key] for sample in samples] for key in samples[0]}


def hook_of(runner: Runner, kind: type) -> Hook:
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, kind))
    return hook


def averaged(runner: Runner) -> dict[str, torch.Tensor]:
    return hook_of(runner, EMAHook).ema_model.module.state_dict()


def saved(path: Path, weights: dict, wrapper: str = "state_dict") -> str:
    torch.save({wrapper: weights}, path)
    return str(path)


def weights_of(model: dict, tmp_path: Path) -> dict[str, torch.Tensor]:
    return build_runner(tmp_path, model, "mmseg" if "decode_head" in model else "mmpretrain").model.state_dict()


def log_of(work_dir: Path) -> str:
    return "".join(path.read_text() for path in work_dir.rglob("*.log"))


@pytest.fixture(scope="module")
def pretraining(tmp_path_factory) -> tuple[Runner, Path]:
    work_dir = tmp_path_factory.mktemp("pretraining")
    return pretrain(work_dir, 2), work_dir / "iter_2.pth"


def test_a_segmentor_loads_the_averaged_backbone_of_a_pretraining_run(pretraining, tmp_path):
    source, path = pretraining
    runner = build_runner(tmp_path, SEGMENTOR)
    runner.load_checkpoint(str(path))
    hook_of(runner, PretrainedWeightsHook).before_train(runner)
    expected, plain, loaded = averaged(source), source.model.state_dict(), runner.model.state_dict()
    for name in loaded:
        if name.startswith("backbone.") and name != "backbone.pos_embed":
            assert torch.equal(loaded[name], expected[name])
    assert not torch.equal(plain["backbone.cls_token"], expected["backbone.cls_token"])
    resized = resize_pos_embed(expected["backbone.pos_embed"], (2, 2), (2, 3), "bicubic", 1)
    assert torch.equal(loaded["backbone.pos_embed"], resized)


def test_the_log_reports_loaded_missing_and_unexpected_keys(pretraining, tmp_path, capsys):
    _, path = pretraining
    runner = build_runner(tmp_path, SEGMENTOR)
    runner.load_checkpoint(str(path))
    hook_of(runner, PretrainedWeightsHook).before_train(runner)
    count = sum(name.startswith("backbone.") for name in runner.model.state_dict())
    log = log_of(tmp_path)
    assert f"Averaged (EMA) weights loaded: backbone {count}; missing keys: decode_head 12; unexpected" in log
    assert "Trained from scratch, as intended: decode_head." in log
    assert "do not match exactly" not in capsys.readouterr().out
    assert "unexpected keys: head 4, backbone.norm.weight, backbone.norm.bias" in log
    assert "Resize backbone.pos_embed from a (2, 2) to a (2, 3) grid" in log


def test_resuming_loads_plain_and_averaged_weights(pretraining, tmp_path):
    source, path = pretraining
    resumed = pretrain(tmp_path, 2, resume=True, load_from=str(path))  # at its end already: no step is left
    for now, before in (
        (resumed.model.state_dict(), source.model.state_dict()),
        (averaged(resumed), averaged(source)),
    ):
        assert now.keys() == before.keys()
        assert all(torch.equal(now[name], before[name]) for name in before)


def test_averaged_weights_of_other_training_code_come_first(tmp_path):
    weights = weights_of(CLASSIFIER, tmp_path / "source")
    checkpoint = {"state_dict": weights, "state_dict_ema": {name: weight + 1 for name, weight in weights.items()}}
    torch.save(checkpoint, tmp_path / "both.pth")
    runner = build_runner(tmp_path, SEGMENTOR)
    runner.load_checkpoint(str(tmp_path / "both.pth"))
    assert torch.equal(runner.model.backbone.cls_token, weights["backbone.cls_token"] + 1)


def test_a_head_of_another_class_count_is_not_loaded(tmp_path):
    weights = weights_of(
        SEGMENTOR | dict(decode_head=SEGMENTOR["decode_head"] | dict(num_classes=4)), tmp_path / "four"
    )
    runner = build_runner(tmp_path, SEGMENTOR)
    start = runner.model.decode_head.conv_seg.weight.clone()
    runner.load_checkpoint(saved(tmp_path / "four.pth", weights))
    assert torch.equal(runner.model.decode_head.conv_seg.weight, start)
    assert torch.equal(runner.model.decode_head.convs[0].conv.weight, weights["decode_head.convs.0.conv.weight"])


def test_a_checkpoint_without_a_backbone_is_an_error(tmp_path):
    weights = weights_of(CLASSIFIER, tmp_path / "source")
    runner = build_runner(tmp_path, SEGMENTOR)
    heads = {name: weight for name, weight in weights.items() if name.startswith("head.")}
    with pytest.raises(ValueError, match="Nothing to load: the checkpoint has head.* such as backbone.cls_token"):
        runner.load_checkpoint(saved(tmp_path / "heads.pth", heads))


def test_a_model_without_backbone_loads_and_is_tested_by_its_own_names(tmp_path):
    model = dict(type="TimmClassifier", model_name="mobilenetv3_small_050", num_classes=5)
    weights = weights_of(model, tmp_path / "source")
    path = saved(tmp_path / "timm.pth", weights)
    runner = build_runner(tmp_path / "run", model | dict(num_classes=3), "mmpretrain")
    runner.load_checkpoint(path)
    loaded = runner.model.state_dict()
    assert all(loaded[n].equal(w) for n, w in weights.items() if not n.startswith("classifier"))
    with pytest.raises(ValueError, match="lacks classifier 2, so part of the tested model would be untrained"):
        hook_of(runner, PretrainedWeightsHook).before_test(runner)
    with pytest.raises(ValueError, match="Nothing to load: the checkpoint has other.* such as conv_stem"):
        runner.load_checkpoint(saved(tmp_path / "other.pth", {"other": torch.zeros(1)}))


def test_load_from_converts_released_weights_and_leaves_out_a_head_of_other_classes(tmp_path):
    weights = weights_of(CLASSIFIER, tmp_path / "source")
    path = saved(tmp_path / "released.pth", convert_to_released(weights), "state_dict_ema")
    ten_classes = CLASSIFIER | dict(head=CLASSIFIER["head"] | dict(num_classes=10))
    ten_classes["data_preprocessor"] = dict(type="mmtl.TokenLabelDataPreprocessor", num_classes=10)
    for number, (model, scope) in enumerate([(SEGMENTOR, "mmseg"), (ten_classes, "mmpretrain")]):
        runner = build_runner(tmp_path / str(number), model, scope)
        runner.load_checkpoint(path)
        hook_of(runner, PretrainedWeightsHook).before_train(runner)
        assert torch.equal(runner.model.backbone.cls_token, weights["backbone.cls_token"])
        assert "Converted 50 weights from released names" in log_of(tmp_path / str(number))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            dict(arch=NANO | dict(num_layers=3)),
            "looks like an arch with embed_dims 12, num_layers 3,.*, this LVViT is",
        ),
        (
            dict(arch="tiny", final_norm=True),
            "looks like LV-ViT arch 'tiny', this LVViT is an arch with embed_dims 12",
        ),
        (
            dict(patch_size=8),
            r"does not fit this LVViT.*patch_embed.proj.weight \(12, 4, 4, 4\), expected \(12, 4, 8, 8\)",
        ),
    ],
)
def test_another_backbone_is_described_in_the_error(change, words, tmp_path):
    other = SEGMENTOR | dict(backbone=SQUARE | change)
    path = saved(tmp_path / "other.pth", weights_of(other, tmp_path / "other"))
    with pytest.raises(ValueError, match=words):
        build_runner(tmp_path, SEGMENTOR).load_checkpoint(path)


def test_testing_a_pretraining_checkpoint_is_an_error(pretraining, tmp_path):
    _, path = pretraining
    for stage in ("before_test", "before_val"):
        runner = build_runner(tmp_path, SEGMENTOR)
        runner.load_checkpoint(str(path))
        with pytest.raises(ValueError, match="checkpoint lacks decode_head 12, so part of the tested model"):
            runner.call_hook(stage)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda whole: whole[: len(whole) // 2], "missing or truncated"),
        (lambda whole: whole.replace(b"\x00" * 64, b"\x01" * 64, 1), "its record .* is corrupt"),
        (lambda whole: b"<html>Not found</html>", "not a checkpoint of torch"),
        (lambda whole: b"", "not a checkpoint of torch"),
    ],
)
def test_a_corrupt_checkpoint_is_named(tmp_path, spoil, problem):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {"backbone.cls_token": torch.zeros(64)}}, path)
    path.write_bytes(spoil(path.read_bytes()))
    runner = build_runner(tmp_path, SEGMENTOR, load_from=str(path))
    runner.call_hook("before_run")
    with pytest.raises(ValueError, match=f"{path} cannot be read as a checkpoint: .*{problem}"):
        runner.load_or_resume()


def test_a_checkpoint_in_torchs_old_format_is_loaded(tmp_path):
    weights = weights_of(SEGMENTOR, tmp_path / "source")
    torch.save({"state_dict": weights}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    runner = build_runner(tmp_path, SEGMENTOR, load_from=str(tmp_path / "old.pth"))
    runner.call_hook("before_run")
    runner.load_or_resume()
    assert all(torch.equal(runner.model.state_dict()[name], weight) for name, weight in weights.items())


def test_testing_a_model_with_less_than_the_checkpoint_is_an_error(tmp_path):
    more = weights_of(SEGMENTOR, tmp_path / "source") | {"backbone.gate.weight": torch.zeros(2)}
    runner = build_runner(tmp_path, SEGMENTOR)
    runner.load_checkpoint(saved(tmp_path / "whole.pth", more))
    with pytest.raises(ValueError, match="checkpoint has backbone.gate.weight, which this model lacks"):
        runner.call_hook("before_test")


def test_testing_a_segmentor_as_a_classifier_is_an_error(tmp_path):
    path = saved(tmp_path / "whole.pth", weights_of(SEGMENTOR | dict(backbone=SQUARE), tmp_path / "source"))
    runner = build_runner(tmp_path, CLASSIFIER, "mmpretrain")
    runner.load_checkpoint(path)
    with pytest.raises(
        ValueError, match="checkpoint lacks head 4, backbone.norm.weight, .* so part of the tested model"
    ):
        runner.call_hook("before_test")


def test_a_complete_segmentor_is_tested_with_and_without_test_time_augmentation(tmp_path):
    weights = weights_of(SEGMENTOR, tmp_path / "source")
    path = saved(tmp_path / "whole.pth", weights)
    for model in (SEGMENTOR, dict(type="SegTTAModel", module=SEGMENTOR)):
        runner = build_runner(tmp_path, model)
        runner.load_checkpoint(path)
        runner.call_hook("before_test")
        loaded = getattr(runner.model, "module", runner.model).state_dict()
        assert all(torch.equal(loaded[name], weights[name]) for name in weights)
