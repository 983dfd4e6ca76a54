"""Log what a training run does: data, labels, weights, length, batch and results, in one box."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import Dataset

from mmtl.datasets.dataset_parts import leaf_datasets, score_map_loaders
from mmtl.engine.hooks.check_annotator import storeless_labels
from mmtl.engine.hooks.pretrained_weights import pretrained_cfgs
from mmtl.models import TokenLabelHead
from mmtl.registry import HOOKS
from mmtl.utils.checkpoint import BACKBONE_SCHEME, SCHEME
from mmtl.utils.model_parts import head_of, unwrap_model
from mmtl.utils.text import in_line

WEIGHTS = ("pretrained", "weights")  # variables of configs for the checkpoint that a run starts from
MAX_NAMES = 3  # classes that are listed
MAX_LENGTH = 150  # characters of a line


@HOOKS.register_module()
class RunSummaryHook(Hook):
    """Logs a box of at most eight lines before the first step, and a warning for a segmentor without any weights.

    The lines are data and classes, source of the labels, source of the initial weights, length and schedule, batch,
    device and learning rate, folder of the results.
    """

    priority = "VERY_LOW"  # other hooks change labels, weights, rate and schedule before

    def before_train(self, runner: Runner) -> None:
        """Log the box."""
        datasets = list(leaf_datasets(runner.train_dataloader.dataset))
        weights = weights_source(runner)
        is_warned = not weights and hasattr(unwrap_model(runner.model), "decode_head")
        if is_warned:
            runner.logger.warning(
                "The segmentation backbone starts from random weights, with which it learns little from few images. "
                f"{remedy(runner.cfg)}"
            )
        rows = dict(
            data=describe_data(runner, datasets),
            labels=describe_labels(unwrap_model(runner.model), datasets),
            weights=weights or f"{'WARNING: ' * is_warned}random initial values{', backbone included' * is_warned}",
            steps=describe_length(runner),
            batch=describe_batch(runner),
            results=str(Path(runner.work_dir).resolve()),
        )
        runner.logger.info("\n" + draw_box(runner.experiment_name, rows))


def remedy(cfg: Config) -> str:
    """Return how to give a segmentor weights, by the config's variable for them if it has one."""
    name = next((name for name in WEIGHTS if name in cfg), None)
    if name:
        return f"Set {name} in the config to a checkpoint of a pretrained model."
    return "Set load_from to a checkpoint of a pretrained model: --cfg-options load_from=FILE."


def draw_box(title: str, rows: dict[str, str]) -> str:
    """Return rows of a name and a text in a box of characters, one line per row, with two lines around them."""
    lines = [f"{name:9}{in_line(text)}" for name, text in rows.items()]
    lines = [line if len(line) <= MAX_LENGTH else f"{line[: MAX_LENGTH - 3]}..." for line in lines]
    width = max(map(len, [*lines, title])) + 2
    body = [f"| {line:{width - 2}} |" for line in lines]
    return "\n".join([f"+{f' {title} ':-^{width}}+", *body, f"+{'-' * width}+"])


def describe_data(runner: Runner, datasets: Sequence[Dataset]) -> str:
    """Return the numbers of images and classes, the first names, and the folder of the data."""
    names = [str(name) for name in (getattr(datasets[0], "metainfo", None) or {}).get("classes") or ()]
    listed = ", ".join(names[:MAX_NAMES]) + ", ..." * (len(names) > MAX_NAMES)
    counts = f"{len(runner.train_dataloader.dataset)} training"
    if runner.val_loop is not None:
        counts += f" and {len(runner.val_dataloader.dataset)} validation"
    classes = f" of {len(names)} classes ({listed})" if names else ""
    return f"{counts} images{classes}{f' in {folder}' if (folder := folder_of(datasets[0])) else ''}"


def folder_of(dataset: Dataset, kind: str = "img_path") -> str | None:
    """Return the root of a dataset, else the folder of its images, or that of its masks (``seg_map_path``), if any."""
    prefix = getattr(dataset, "data_prefix", None) or {}
    return (kind == "img_path" and getattr(dataset, "data_root", None)) or prefix.get(kind)


def describe_labels(model: nn.Module, datasets: Sequence[Dataset]) -> str:
    """Return what a model learns from: score maps, an online annotator, class labels or masks."""
    if hasattr(model, "decode_head"):
        return f"masks in {folder_of(datasets[0], 'seg_map_path') or 'the dataset'}"
    if (labels := storeless_labels(model)) is not None:
        return f"token labels from {labels}"
    stores = sorted({str(load.store) for dataset in datasets for load in score_map_loaders(dataset)})
    if not stores:
        return "class labels only"
    unused = isinstance(head_of(model), TokenLabelHead) and not head_of(model).beta
    return f"token labels from the score maps in {', '.join(stores)}{' (head.beta=0: not used)' * unused}"


def weights_source(runner: Runner) -> str:
    """Return where the weights come from; empty if all have random initial values."""
    if runner._resume and runner.iter:
        return f"resumed at step {runner.iter} of this run"
    if runner._load_from:
        return f"loaded from {plain_path(runner._load_from)}"
    return ", ".join(f"pretrained, {source}" for source in dict.fromkeys(pretrained_sources(runner.model)))


def plain_path(path: str) -> str:
    """Return a path as the config has it, without the scheme by which mmtl has MMEngine read it."""
    return str(path).removeprefix(SCHEME).removeprefix(BACKBONE_SCHEME)


def pretrained_sources(model: nn.Module) -> Iterator[str]:
    """Yield the checkpoints of ``init_cfg``, and the names of timm's models that downloaded their weights."""
    for name, module in unwrap_model(model).named_modules():
        if name.startswith(("head", "decode_head", "auxiliary_head")):
            continue
        for cfg in pretrained_cfgs(getattr(module, "init_cfg", None)):
            yield plain_path(cfg["checkpoint"])
        if getattr(module, "pretrained", None) is True:
            yield f"timm's {getattr(module, 'model_name', type(module).__name__)}"


def describe_length(runner: Runner) -> str:
    """Return the number of steps and the schedule of the learning rate."""
    total = f"{runner.max_iters}"
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        total += f" ({runner.max_epochs} epochs of {len(runner.train_dataloader)})"
    schedulers = runner.param_schedulers or []
    if not isinstance(schedulers, list) or not schedulers:
        return f"{total}, constant learning rate" if isinstance(schedulers, list) else total
    parts = []
    for scheduler in schedulers:
        unit = "epoch" if scheduler.by_epoch else "step"
        end = min(scheduler.end, runner.max_epochs if scheduler.by_epoch else runner.max_iters)
        parts.append(f"{type(scheduler).__name__} to {unit} {end}")
    return f"{total}, {', then '.join(parts)}"


def describe_batch(runner: Runner) -> str:
    """Return the images of an optimizer step, the device, the optimizer and its learning rate."""
    images, ranks = runner.train_dataloader.batch_size or 0, runner.world_size
    steps = getattr(runner.optim_wrapper, "_accumulative_counts", 1)
    text = f"{images * ranks * steps} images" if images else "batches of the sampler"
    factors = [f"{images} on each of {ranks} ranks"] * (ranks > 1) + [f"{steps} iterations a step"] * (steps > 1)
    text += f" ({', '.join(factors)})" if factors else ""
    text += f" on {describe_device(unwrap_model(runner.model), ranks)}"
    optimizer = getattr(runner.optim_wrapper, "optimizer", None)
    if optimizer is None:
        return text
    return f"{text}, {type(optimizer).__name__} with learning rate {describe_rate(optimizer.param_groups)}"


def describe_device(model: nn.Module, ranks: int = 1) -> str:
    """Return the name of the device that a model is on, and how many of them there are."""
    device = next(model.parameters()).device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    return f"{ranks} x {name}" if ranks > 1 else name


def describe_rate(groups: Sequence[Mapping[str, float]]) -> str:
    """Return the learning rates of parameter groups: the peak of a one-cycle schedule, else the one before warmup."""
    rates = {group.get("max_lr", group.get("initial_lr", group["lr"])) for group in groups}
    is_peak = any("max_lr" in group for group in groups)
    return "up to " * is_peak + f"{min(rates):g}" + (f" to {max(rates):g}" if len(rates) > 1 else "")
