"""Every recipe loads, builds what it describes, and has the name that follows from its numbers."""

import re
from pathlib import Path

import mmpretrain.registry
import mmseg.registry
import pytest
import torch
import yaml
from helpers.paths import ROOT
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.models.utils import to_2tuple
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmtl.utils.image_files import IMAGE_SUFFIXES

CONFIGS = sorted(p for p in (ROOT / "configs").rglob("*.py") if "_base_" not in p.parts)
REGISTRIES = {"mmpretrain": mmpretrain.registry, "mmseg": mmseg.registry}
# OpenMMLab's grammar: model, (head,) GPUs x batch with tags and length, dataset, size.
NAME = {
    "mmpretrain": re.compile(
        r"(?:timm|[a-z0-9]+-[a-z0-9.-]+)_\d+xb(?P<batch>\d+)(-[a-z0-9.]+)*-(?P<length>\d+)e_[a-z0-9]+(-(?P<px>\d+)px)?"
    ),
    "mmseg": re.compile(
        r"(?:timm|[a-z0-9]+-[a-z0-9.-]+)_[a-z0-9-]+_\d+xb(?P<batch>\d+)(-[a-z0-9.]+)*-(?P<length>\d+)(?P<unit>e|k|i)"
        r"_[a-z0-9]+-(?P<height>\d+)x(?P<width>\d+)"
    ),
}


def load(path: Path) -> Config:
    return Config.fromfile(path)


def build_model(config: Config) -> nn.Module:
    """Build the model as a Runner does in the config's scope; mmtl's on the meta device, without storage."""
    kind = config.model.get("backbone", config.model).type  # a timm model is its own backbone
    scope, device = config.default_scope, "meta" if kind.startswith("mmtl.") else "cpu"
    with DefaultScope.overwrite_default_scope(scope), torch.device(device):
        return REGISTRIES[scope].MODELS.build(config.model)


def pipeline_of(dataset: Config) -> list:
    """Return the transforms of a dataset, or of all parts of a concatenated one."""
    return [step for part in dataset.get("datasets", [dataset]) for step in part.pipeline]


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


def test_name_follows_the_grammar_and_matches_the_numbers(path):
    config = load(path)
    match = NAME[config.default_scope].fullmatch(path.stem)
    assert match, f"{path.name} does not follow {NAME[config.default_scope].pattern}"
    assert config.train_dataloader.batch_size == int(match["batch"])
    if config.default_scope == "mmpretrain":
        # A cool-down at the floor is not counted, as in the released recipe: 300 epochs are 300 + 10.
        assert int(match["length"]) in (config.train_cfg.max_epochs, config.get("cosine_epochs"))
        if match["px"]:
            assert config.model.backbone.img_size == int(match["px"])
    elif match["unit"] == "k":
        assert config.train_cfg.max_iters == 1000 * int(match["length"])


def test_model_optimizer_and_pipelines_build(path):
    config = load(path)
    model = build_model(config)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        wrapper = build_optim_wrapper(model, config.optim_wrapper)
        for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
            for step in pipeline_of(loader.dataset):
                if step.type == "mmtl.LoadScoreMap":
                    step = {**step, "store": None}  # the store does not exist here
                REGISTRIES[config.default_scope].TRANSFORMS.build(step)
    trained = sum(p.numel() for group in wrapper.optimizer.param_groups for p in group["params"])
    assert trained == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_templates_read_all_images_that_the_commands_read(tmp_path):
    """Guards: .webp images were left out of training without a message."""
    (tmp_path / "a").mkdir()
    for suffix in IMAGE_SUFFIXES:
        (tmp_path / "a" / f"image{suffix}").touch()
    config = load(ROOT / "configs/own_data/resnet-small_1xb32-30e_owndata.py")
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        given = dict(loader.dataset, data_prefix=str(tmp_path), classes=("a",), pipeline=[])
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            assert len(mmpretrain.registry.DATASETS.build(given)) == len(IMAGE_SUFFIXES)


@pytest.mark.parametrize("path", [p for p in CONFIGS if "-300e_in1k" in p.stem], ids=lambda p: p.stem)
def test_pretraining_decays_matrices_and_kernels_only(path):
    config = load(path)
    model = build_model(config)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    names = {id(p): name for name, p in model.named_parameters()}
    decayed = {names[id(p)]: p for g in wrapper.optimizer.param_groups for p in g["params"] if g["weight_decay"]}
    assert all(p.ndim >= 2 for p in decayed.values()) and len(decayed) > 30
    assert not decayed.keys() & {"backbone.cls_token", "backbone.pos_embed"}


@pytest.mark.parametrize("path", [p for p in CONFIGS if not p.stem.startswith("resnet-")], ids=lambda p: p.stem)
def test_optimizer_updates_few_groups_at_once(path):
    config = load(path)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        optimizer = build_optim_wrapper(build_model(config), config.optim_wrapper).optimizer
    depths = 16 + 2 if "layerdecay" in path.stem else 1  # stem, blocks and the rest
    assert 2 <= len(optimizer.param_groups) <= 2 * depths  # with and without weight decay
    assert optimizer.defaults["fused"]


METAFILES = sorted((ROOT / "configs").rglob("metafile.yml"))
ENTRIES = [entry for path in METAFILES for entry in yaml.safe_load(path.read_text())["Models"]]


def test_model_index_lists_every_metafile():
    index = yaml.safe_load((ROOT / "model-index.yml").read_text())
    assert [ROOT / name for name in index["Import"]] == METAFILES


def test_metafiles_name_every_config_once():
    assert sorted(entry["Config"] for entry in ENTRIES) == [path.relative_to(ROOT).as_posix() for path in CONFIGS]
    assert all(Path(entry["Config"]).stem == entry["Name"] for entry in ENTRIES)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if "Metadata" in e], ids=lambda entry: entry["Name"])
def test_metafile_parameters_and_flops_are_those_of_the_model(entry):
    config = load(ROOT / entry["Config"])
    model = build_model(config).eval()
    height, width = to_2tuple(config.get("crop_size", config.model.backbone.img_size))
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, height, width, device="meta"))
    found = dict(Parameters=sum(p.numel() for p in model.parameters()), FLOPs=counter.get_total_flops() // 2)
    assert found == {key: entry["Metadata"][key] for key in found}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["Name"])
def test_results_hold_only_measured_accuracies(entry):
    """``Quoted`` holds the paper's values; ``Results`` is for our own runs, which have a log."""
    assert all(result.keys() >= {"Log", "Date"} for result in entry.get("Results", []) if result.get("Metrics"))
    assert "Quoted" not in entry or entry["Quoted"]["Source"]
