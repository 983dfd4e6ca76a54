"""Every way to give mmtl a checkpoint understands every wrapping of its weights, and prefers the same ones."""

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny_segmentation
from helpers.file_server import file_server
from helpers.makes_a_folder import MakesAFolder
from helpers.paths import DATA, ROOT
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.runner import Runner
from mmpretrain import get_model
from mmpretrain.registry import MODELS

from mmtl.annotators.annotator import Inference
from mmtl.annotators.load import load_annotator
from mmtl.apis import export_onnx, predict, segment
from mmtl.apis.convert import convert_file
from mmtl.models.lvvit import convert_released, convert_to_released
from mmtl.utils.checkpoint import WRAPPINGS, file_problem, read_checkpoint, unwrap_weights

ARCH = dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8, stem_channels=4, residual_divisor=1)
BACKBONE = dict(type="mmtl.LVViT", arch=ARCH, img_size=16, patch_size=8)
CLASSIFIER = dict(
    type="mmtl.TokenLabelClassifier",
    backbone=BACKBONE,
    head=dict(type="mmtl.TokenLabelHead", num_classes=3, in_channels=8),
)
CONFIG = f"""
default_scope = "mmpretrain"
model = {CLASSIFIER}
test_dataloader = dict(dataset=dict(type="CustomDataset", pipeline=[
    dict(type="LoadImageFromFile"), dict(type="Resize", scale=16), dict(type="PackInputs"),
]))
"""
OLD = DATA / "written_by_2994935"
OLD_CONFIG = ROOT / "configs/examples/lvvit-nano_1xb128-tokenlabel-mixtoken-3e_cifar10.py"
OLD_ARCH = ARCH | dict(num_layers=2, feedforward_channels=16)
State = dict[str, torch.Tensor]
numbers = itertools.count()


def by_load_from(path: Path, model: dict = CLASSIFIER, source: str = "") -> State:
    hook = dict(type="mmtl.PretrainedWeightsHook")
    name, work_dir = f"doors_{next(numbers)}", str(path.parent / "work_dir")
    runner = Runner(
        model=model, work_dir=work_dir, load_from=source or str(path), custom_hooks=[hook], default_scope="mmpretrain",
        experiment_name=name,
    )  # fmt: skip
    runner.call_hook("before_run")
    runner.load_or_resume()
    return runner.model.state_dict()


def by_init_cfg(path: Path, model: dict = CLASSIFIER, prefix: str | None = None, source: str = "") -> State:
    init_cfg = dict(type="Pretrained", checkpoint=source or str(path), **(dict(prefix=prefix) if prefix else {}))
    built = MODELS.build({**model, "init_cfg": init_cfg})
    built.init_weights()
    return {f"{prefix or ''}{name}": value for name, value in built.state_dict().items()}


def by_init_cfg_of_a_backbone(path: Path, source: str = "") -> State:
    return by_init_cfg(path, BACKBONE, "backbone.", source)


def by_get_model(path: Path, source: str = "") -> State:
    return get_model(str(config_beside(path)), source or str(path)).state_dict()


def by_predict(path: Path) -> State:
    return predict.load_inferencer(config_beside(path), path, "cpu").model.state_dict()


def by_export(path: Path) -> State:
    return export_onnx.build_model(export_onnx.load_config(config_beside(path)), path).state_dict()


def by_make_score_maps(path: Path) -> State:
    dense = load_annotator(str(config_beside(path)), str(path), "cpu", Inference()).dense
    return {k: v for k, v in dense.state_dict().items() if k.startswith(("backbone.", "head."))}


def by_convert_checkpoint(path: Path) -> State:
    convert_file(path, path.with_name("released.pth"), to_released=True)
    return convert_released(torch.load(path.with_name("released.pth"), weights_only=True))


def by_segment(path: Path) -> State:
    config = tiny_segmentation.write_config(path.parent)
    return segment.load_model(config, str(path), "cpu", None)[0].model.state_dict()


DOORS = {
    door.__name__: door
    for door in (
        by_load_from,
        by_init_cfg,
        by_init_cfg_of_a_backbone,
        by_get_model,
        by_predict,
        by_segment,
        by_export,
        by_make_score_maps,
        by_convert_checkpoint,
    )
}


def config_beside(path: Path) -> Path:
    config = path.with_name("config.py")
    config.write_text(CONFIG)
    return config


@pytest.fixture(scope="module")
def states(tmp_path_factory) -> dict[str, State]:
    """Weights of the classifier and, by its door's name, of the segmentor."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("segmentor")
    path = tiny_segmentation.save_checkpoint(tiny_segmentation.write_config(folder), folder / "w.pth")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        state = MODELS.build(CLASSIFIER).state_dict()
    return {"": state, "by_segment": torch.load(path, weights_only=True)["state_dict"]}


def shifted(state: State, shift: float) -> State:
    return {name: value + shift if value.is_floating_point() else value for name, value in state.items()}


def check_loaded(door: Callable[[Path], State], path: Path, expected: State) -> None:
    init_default_scope("mmpretrain")
    loaded = door(path)
    assert len(loaded) > 10
    assert all(torch.equal(value, expected[name]) for name, value in loaded.items())


@pytest.mark.parametrize("module", ["", "module."])
@pytest.mark.parametrize("wrapping", ["plain", *WRAPPINGS])
@pytest.mark.parametrize("door", DOORS)
def test_every_door_understands_every_wrapping(door, wrapping, module, states, tmp_path):
    state = shifted(states.get(door, states[""]), 0.5)
    named = {module + name: value for name, value in state.items()}
    torch.save(named if wrapping == "plain" else {wrapping: named, "epoch": 3}, tmp_path / "w.pth")
    check_loaded(DOORS[door], tmp_path / "w.pth", state)


@pytest.mark.parametrize("wrapping", ["plain", *WRAPPINGS])
@pytest.mark.parametrize("door", [door for door in DOORS if door not in ("by_segment", "by_convert_checkpoint")])
def test_every_door_takes_released_names(door, wrapping, states, tmp_path):
    released = convert_to_released(states[""])
    torch.save(released if wrapping == "plain" else {wrapping: released}, tmp_path / "w.pth")
    check_loaded(DOORS[door], tmp_path / "w.pth", states[""])


@pytest.mark.parametrize("door", [by_load_from, by_init_cfg, by_init_cfg_of_a_backbone, by_get_model])
def test_doors_of_openmmlab_take_a_url(door, states, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    path = tmp_path / "w.pth"
    torch.save({"state_dict": convert_to_released(states[""])}, path)
    with file_server() as server:
        server.files["w.pth"] = path.read_bytes()
        path.unlink()
        check_loaded(partial(door, source=f"{server.url}w.pth"), path, states[""])
        assert server.requests == 1


@pytest.mark.parametrize("first", range(len(WRAPPINGS) - 1))
@pytest.mark.parametrize("door", DOORS)
def test_of_several_wrappings_every_door_takes_the_first_in_order(door, first, states, tmp_path):
    state = states.get(door, states[""])
    names = ("state_dict_ema", "state_dict", "ema_state_dict", "model")
    torch.save({name: shifted(state, number) for number, name in list(enumerate(names))[:first:-1]} |
               {names[first]: shifted(state, first)}, tmp_path / "w.pth")  # fmt: skip
    check_loaded(DOORS[door], tmp_path / "w.pth", shifted(state, first))


@pytest.mark.parametrize("door", DOORS)
def test_every_door_reads_objects_as_placeholders_and_runs_no_code(door, states, tmp_path):
    state = states.get(door, states[""])
    torch.save({"state_dict": state, "path": tmp_path, "scope": DefaultScope("x", scope_name="x")}, tmp_path / "w.pth")
    check_loaded(DOORS[door], tmp_path / "w.pth", state)
    torch.save({"state_dict": state, "code": MakesAFolder(tmp_path / "made")}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match=r"code.pth cannot be read as a checkpoint: it holds posix.mkdir"):
        check_loaded(DOORS[door], tmp_path / "code.pth", state)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("door", DOORS)
def test_every_door_names_a_corrupt_file(door, states, tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"state_dict": states.get(door, states[""])}, path)
    data = bytearray(path.read_bytes())
    data[data.index(states.get(door, states[""])["backbone.cls_token"].numpy().tobytes())] ^= 1
    path.write_bytes(data)
    assert "is corrupt" in file_problem(path)
    with pytest.raises(ValueError, match="w.pth cannot be read as a checkpoint: its record .* is corrupt"):
        check_loaded(DOORS[door], path, {})


@pytest.mark.parametrize("door", DOORS)
def test_every_door_refuses_weights_that_are_not_finite_by_name(door, states, tmp_path):
    """Guards: NaN weights outside the backbone, in a decode head, were used silently."""
    state = dict(states.get(door, states[""]))
    name = next(name for name in reversed(state) if name.endswith("head.weight") or "head" in name)
    state[name] = state[name].float() * torch.nan
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=f"{name} of the checkpoint holds NaN"):
        check_loaded(DOORS[door], tmp_path / "w.pth", state)


def test_the_number_of_updates_of_an_averaged_model_is_not_a_weight():
    averaged = {"steps": torch.tensor(7), "module.a": torch.ones(1)}  # mmengine's AveragedModel
    assert list(unwrap_weights({"ema_state_dict": averaged})) == ["a"]


def test_the_token_grid_in_the_metadata_survives_unwrapping(tmp_path):
    wide = MODELS.build(BACKBONE | dict(img_size=(8, 32)))  # 1 x 4 tokens, as many as 2 x 2
    state = torch.nn.ModuleDict({"module": torch.nn.ModuleDict({"backbone": wide})}).state_dict()
    torch.save({"model": state}, tmp_path / "w.pth")
    weights = unwrap_weights(read_checkpoint(tmp_path / "w.pth"))
    assert weights._metadata["backbone"]["grid_hw"] == (1, 4)


@pytest.mark.parametrize("door", [by_load_from, by_init_cfg])
def test_a_training_checkpoint_of_an_earlier_version_gives_its_logits(door, tmp_path):
    cfg = Config.fromfile(OLD_CONFIG)
    cfg.model.backbone.arch, cfg.model.head.in_channels = OLD_ARCH, 8
    (tmp_path / "w.pth").write_bytes((OLD / "training_checkpoint.pth").read_bytes())
    init_default_scope("mmpretrain")
    weights = door(tmp_path / "w.pth", cfg.model)
    model = MODELS.build(cfg.model).eval()
    model.load_state_dict(weights)
    images = torch.from_numpy(np.random.RandomState(7).standard_normal((2, 3, 32, 32)).astype(np.float32))
    with torch.no_grad():
        logits = model(images, mode="tensor")
    np.testing.assert_allclose(logits, np.load(OLD / "expected.npz")["checkpoint|logits"], atol=1e-5)
