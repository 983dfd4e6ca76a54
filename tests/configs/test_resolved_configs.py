"""Every config resolves to the values in the snapshot, except for the departures stated here.

State a deliberate change in ``DEPARTURES``. To accept all of them into a new snapshot, run
``python tests/configs/test_resolved_configs.py`` and empty ``DEPARTURES`` in the same commit.
"""

import gzip
import inspect
import json
from fnmatch import fnmatch
from pathlib import Path

import pytest
from helpers.paths import DATA, ROOT
from mmengine.config import Config
from mmengine.runner import Runner

SNAPSHOT = DATA / "resolved_configs.json.gz"
# What the Runner, the inferencers and mmtl's hooks read. All other variables only help to write a config.
KEYS = {*inspect.signature(Runner.__init__).parameters, "tta_model", "tta_pipeline", "test_pipeline", "score_maps"}
KEYS |= {"runner_type", "compile", "sync_bn", "model_wrapper_cfg", "find_unused_parameters"}
# Pattern of config files -> pattern of dotted keys -> reason for the new value.
DEPARTURES: dict[str, dict[str, str]] = {
    "configs/own_data/*": {"*": "templates of `mmtl start`: lists of files, sizes and lengths in their first block"},
    "configs/*": {
        "default_hooks.compile.type": "compile=True compiles the model and not the training step",
        "default_hooks.runtime_info.type": "logged values are fetched once per logging interval",
        "default_hooks.checkpoint.save_best": "the best checkpoint is kept beside the last two",
        "*_dataloader.persistent_workers": "set by CheckSettingsHook, so that num_workers=0 works",
        "runner_type": "variables that are changed afterwards are applied",
        "default_hooks.check_settings.type": "settings that contradict each other are named at the start",
        "default_hooks.visualization.type": "the first batch of each validation is drawn, with a legend",
        "default_hooks.run_summary.type": "a run says what it does before its first step",
        "default_hooks.finite_loss.type": "a loss that is NaN stops the run",
        "*_dataloader.dataset.extensions.*": "class folders are read with the suffixes of mmtl's commands",
        "log_processor.*": "means and rates are over a logging interval",
    },
    "configs/*/lvvit-*": {
        "optim_wrapper.constructor": "parameters of equal settings share a group",
        "optim_wrapper.optimizer.fused": "one fused update per group",
    },
    "configs/token_labeling/*": {
        "optim_wrapper.constructor": "parameters of equal settings share a group",
        "optim_wrapper.optimizer.fused": "one fused update per group",
    },
    "configs/*in1k*": {
        "*_dataloader.dataset.type": "some of ImageNet's class folders keep their class indices",
        "train_dataloader.dataset.pipeline.2.backend": "resize in uint8 by PyTorch, five times as fast",
        "train_dataloader.dataset.pipeline.*.on_device": "flip, RandAugment and erasing run on the device",
        "train_dataloader.dataset.pipeline.*.data_sample": "arrays are collated without a DataSample for each image",
    },
    "configs/*-*label-*300e_in1k*": {
        "train_dataloader.drop_last": "released: no last step of fewer images",
        "custom_hooks.0.base_steps": "1251 steps per epoch in place of 1252",
    },
    "configs/*-*label-*30e_in1k*": {
        "train_dataloader.drop_last": "as in the pretraining",
        "custom_hooks*": "released fine-tuning trains and validates the weights themselves, without an average",
    },
    "configs/lvvit/lvvit-small_8xb128-tokenlabel-online-300e_in1k.py": {"": "new: labels from an online annotator"},
    "configs/*/lvvit-*-tokenlabeler-*": {"": "new: phase 1 of self-emerging token labels"},
    "configs/*/lvvit-*-selflabel-*": {"": "new: phase 2 of self-emerging token labels"},
    "configs/lvvit/lvvit-small_8xb128-tokenlabel-workeraugment-300e_in1k.py": {
        "": "new: the augmentation of OpenMMLab, in the workers",
    },
    "configs/lvvit/lvvit-small_8xb128-tokenlabel-releasedorder-300e_in1k.py": {
        "": "new: the released order of the augmentation",
    },
    "configs/own_data/lvvit-nano_1xb32-tokenlabel-multiband-60e_owndata-224px.py": {"": "new: images of many bands"},
    "configs/token_labeling/volo-*.py": {"": "new: VOLO"},
    "configs/token_labeling/timm_*.py": {"": "new: any timm model"},
    "configs/token_labeling/*_upernet_*.py": {"": "new: segmentation with other backbones"},
    "configs/lvvit/lvvit-small_8xb64-classlabel-100e_cifar100.py": {
        "train_dataloader.drop_last": "as on ImageNet",
        "custom_hooks*": "released fine-tuning trains and validates the weights themselves, without an average",
        "train_dataloader.dataset.pipeline.2.backend": "as on ImageNet",
        "train_dataloader.dataset.pipeline.*.on_device": "as on ImageNet",
        "train_dataloader.dataset.pipeline.*.data_sample": "as on ImageNet",
    },
    "configs/*-*label-*e_*": {
        "train_dataloader.dataset.pipeline.1.image_root": "found from the images, so data_root can be changed alone",
        "train_dataloader.collate_fn.*": "workers send a batch as a flat dict of tensors",
    },
    "configs/*/lvvit-*_*_*xb*-*x*": {
        "train_dataloader.dataset*pipeline.0.type": "truncated images are refused",
        "model.type": "as released, windows are those of the unpadded image",
        "model.data_preprocessor.test_cfg.size_divisor": "moved to model.test_cfg",
        "model.test_cfg.size_divisor": "pads only what the backbone would not split into full patches",
    },
    "configs/*/lvvit-*-*[0-9]k_ade20k-*": {
        "default_hooks.checkpoint.interval": "saved before the end of the run: with each validation",
    },
    "configs/*/lvvit-nano_upernet_*-*[0-9][ik]*": {
        "default_hooks.checkpoint.interval": "at most a tenth of the run",
    },
    "configs/*/lvvit-[sml]*0k_*": {
        "model.backbone.img_size*": "a pair, as crop_size",
        "param_scheduler.1.begin": "released: the linear decay starts with the run and is multiplied by the warm-up",
    },
    "configs/*/lvvit-nano_upernet_*": {
        "test_pipeline.*": "MMSegmentation's inference_model reads it; these recipes lacked it",
    },
}


def resolve(path: Path) -> dict[str, object]:
    """Return the values of a config by dotted key, such as ``model.backbone.arch`` or ``param_scheduler.0.end``."""
    values = json.loads(json.dumps(Config.fromfile(path).to_dict(), default=repr))
    return flatten({key: value for key, value in values.items() if key in KEYS})


def flatten(value: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(value, (dict, list)) or not value:
        return {prefix: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {k: v for key, child in items for k, v in flatten(child, f"{prefix}.{key}".lstrip(".")).items()}


def resolve_all() -> dict[str, dict[str, object]]:
    paths = sorted(path for path in (ROOT / "configs").rglob("*.py") if "_base_" not in path.parts)
    return {path.relative_to(ROOT).as_posix(): resolve(path) for path in paths}


@pytest.fixture(scope="module")
def changes() -> dict[tuple[str, str], str]:
    """Every difference between the configs and the snapshot as (config, key): "old -> new"."""
    old, new = json.loads(gzip.decompress(SNAPSHOT.read_bytes())), resolve_all()
    found = {(name, ""): "added or removed" for name in old.keys() ^ new.keys()}
    for name in old.keys() & new.keys():
        for key in old[name].keys() | new[name].keys():
            before, after = (values.get(key, "missing") for values in (old[name], new[name]))
            if before != after:
                found[name, key] = f"{before} -> {after}"
    return found


def is_stated(change: tuple[str, str], departure: tuple[str, str]) -> bool:
    return all(fnmatch(value, pattern) for value, pattern in zip(change, departure, strict=True))


def test_configs_resolve_to_the_snapshot_except_for_stated_departures(changes):
    departures = [(configs, key) for configs, keys in DEPARTURES.items() for key in keys]
    unstated = {c: values for c, values in changes.items() if not any(is_stated(c, d) for d in departures)}
    assert not unstated, "\n".join(f"{name} {key}: {values}" for (name, key), values in sorted(unstated.items()))


def test_every_stated_departure_departs_from_the_snapshot(changes):
    departures = [(configs, key) for configs, keys in DEPARTURES.items() for key in keys]
    assert [d for d in departures if not any(is_stated(change, d) for change in changes)] == []


if __name__ == "__main__":
    text = json.dumps(resolve_all(), indent=1, sort_keys=True)
    SNAPSHOT.write_bytes(gzip.compress(text.encode(), mtime=0))
