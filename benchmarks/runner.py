"""The rate of a complete training run, where its main thread spends the time, and the bare step beside it.

    python benchmarks/runner.py --device cuda --compile             # samples that are ready in memory
    python benchmarks/runner.py --device cuda --compile --jpeg      # synthetic JPEGs of ImageNet's size
    python benchmarks/runner.py --batch 4 --steps 8 --workers 0     # dry run on a CPU
    python benchmarks/runner.py --device cuda --released CHECKOUT   # the authors' code, which needs timm 0.4.5

The run is the recipe's: its data loader, data preprocessor, optimizer wrapper and hooks under mmengine's Runner,
without validation and checkpoints. Its parts are times of the main thread; the complete data preprocessor, measured
by itself, includes the work on the device. Ready samples are 64 packed outputs of the recipe's own pipeline, so the
run includes everything but decoding and cropping. The bare step repeats forward, backward and optimizer on one batch
whose targets are ready, compiled if the run is. The authors' step takes as many images and score maps of that size.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import torch
from measure import make_parser, seconds_per_call, synchronize
from mmengine.config import Config, DictAction
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner
from pipeline import write_images, write_score_maps
from token_targets import make_maps
from torch.utils.data import Dataset

from mmtl.utils.model_parts import unwrap_model

RECIPE = Path(__file__).parents[1] / "configs/lvvit/lvvit-small_8xb128-tokenlabel-300e_in1k.py"
READY_SAMPLES = 64
SHOWN_SECONDS = 1e-4
WARM_UP = 0.4  # share of the steps that are not measured: they compile, and fill the data loader's queue


@DATASETS.register_module()
class ReadySamples(Dataset):
    """Packed samples of another dataset, kept in memory and repeated."""

    def __init__(self, dataset: dict, length: int) -> None:
        source = DATASETS.build(dataset)
        self.samples = [source[index % len(source)] for index in range(READY_SAMPLES)]
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        return self.samples[index % len(self.samples)]


def make_config(args: argparse.Namespace, folder: Path) -> Config:
    """Return the recipe for a short run on images of a folder, without validation and checkpoints."""
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    images = args.images or write_images(folder / "images")
    write_score_maps(images, folder / "store")
    pipeline = cfg.train_dataloader.dataset.pipeline
    for step in pipeline:
        if step.type == "mmtl.LoadScoreMap":
            store = None if args.class_labels else str(folder / "store")
            step.update(store=store, image_root=str(images), num_classes=1000)
    length = args.batch * args.steps
    dataset = dict(type="mmpretrain.CustomDataset", data_root=str(images), pipeline=pipeline)
    if args.jpeg or args.images:
        count = sum(1 for _ in images.rglob("*.*"))
        dataset = dict(type="RepeatDataset", times=-(-length // count), dataset=dataset)
    else:
        dataset = dict(type="ReadySamples", dataset=dataset, length=length)
    cfg.train_dataloader.dataset = dataset
    cfg.train_dataloader.update(
        batch_size=args.batch,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        pin_memory=args.device == "cuda",
    )
    for stage in ("val", "test"):
        for part in ("dataloader", "cfg", "evaluator"):
            cfg[f"{stage}_{part}"] = None
    cfg.train_cfg = dict(type="IterBasedTrainLoop", max_iters=args.steps, val_interval=args.steps + 1)
    cfg.param_scheduler = None
    cfg.default_hooks.checkpoint.update(interval=-1, save_last=False)
    cfg.work_dir, cfg.log_level = str(folder / "run"), "WARNING"
    if args.device == "cuda":
        cfg.optim_wrapper.type = "mmtl.BFloat16OptimWrapper"
    cfg.compile = args.compile
    return cfg


class StepClock(Hook):
    """Record the time of every step of a run and of the parts of its main thread."""

    priority = "LOWEST"  # the last hook of a step, which ends it

    def __init__(self) -> None:
        self.stamps: list[float] = []
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def before_train(self, runner: Runner) -> None:
        """Measure the parts from here on."""
        self.wrap(unwrap_model(runner.model).data_preprocessor, "forward", "data preprocessor")
        self.wrap(runner.model, "_run_forward", "forward")
        for name in ("backward", "step", "zero_grad"):
            self.wrap(runner.optim_wrapper, name, f"optimizer wrapper: {name}")
        for hook in set(runner.hooks) - {self}:
            self.wrap(hook, "after_train_iter", f"hook: {type(hook).__name__}")

    def wrap(self, owner: object, name: str, part: str) -> None:
        """Measure a method of an object."""
        method = getattr(owner, name)

        def timed(*args: object, **kwargs: object) -> object:
            start = time.perf_counter()
            result = method(*args, **kwargs)
            self.seconds[part].append(time.perf_counter() - start)
            return result

        object.__setattr__(owner, name, timed)

    def after_train_iter(self, *args: object, **kwargs: object) -> None:
        """Record the end of a step."""
        self.stamps.append(time.perf_counter())

    def medians(self) -> dict[str, float]:
        """Return the median seconds of a step and of its parts after the warm-up."""
        first = int(WARM_UP * len(self.stamps))
        step = (self.stamps[-1] - self.stamps[first]) / (len(self.stamps) - 1 - first)
        parts = {part: statistics.median(values[first:]) for part, values in self.seconds.items() if values[first:]}
        return {"step": step, **parts, "data loader and the rest": step - sum(parts.values())}


def bare_step(runner: Runner, batch: dict, steps: int) -> float:
    """Return the seconds of a step on one batch that is ready on the device, without loader, hooks and log."""
    model, wrapper = runner.model, runner.optim_wrapper
    prepared = model.data_preprocessor(batch, training=True)

    def step() -> None:
        with wrapper.optim_context(model):
            losses = model(**prepared, mode="loss")
        wrapper.update_params(model.parse_losses(losses)[0])

    return seconds_per_call(step, steps, next(model.parameters()).device.type)


def released_step(checkout: Path, batch: int, steps: int) -> float:
    """Return the seconds of the authors' step: targets from score maps, forward, loss, backward and AdamW."""
    sys.path.insert(0, str(checkout))
    from tlt.data import create_token_label_target
    from tlt.loss import TokenLabelCrossEntropy
    from tlt.models import lvvit_s

    model = lvvit_s(drop_path_rate=0.1).cuda().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)
    criterion = TokenLabelCrossEntropy(dense_weight=0.5).cuda()
    images, maps = torch.randn(batch, 3, 224, 224, device="cuda"), make_maps(batch, num_classes=1000)
    boxes = torch.zeros_like(maps["scores"])
    boxes[:, 0, :4, 0] = torch.tensor([0.2, 0.3, 0.5, 0.5])  # where its loader puts the crop
    channels = [values.float() for values in (maps["scores"], maps["classes"], boxes)]
    maps = torch.stack(channels, dim=1).permute(0, 1, 4, 2, 3)  # [B, 3, k, h, w]
    scaler = torch.amp.GradScaler()

    def step() -> None:
        target = create_token_label_target(maps.cuda(), num_classes=1000, smoothing=0.1, label_size=14)
        with torch.autocast("cuda", torch.float16):
            loss = criterion(model(images), target)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return seconds_per_call(step, steps, "cuda")


def report(name: str, seconds: float, args: argparse.Namespace) -> None:
    """Print one row of the table, and as JSON for scripts."""
    print(f"| {name} | {1e3 * seconds:.2f} | {args.batch / seconds:.0f} |", flush=True)
    if args.json:
        with args.json.open("a") as file:
            settings = {key: str(value) for key, value in vars(args).items() if key != "json"}
            file.write(json.dumps({"name": name, "seconds": seconds, "batch": args.batch, **settings}) + "\n")


def main() -> None:
    """Print a table: the run, its main thread, the bare step and, if asked for, the authors' step."""
    parser = make_parser(__doc__, batch=128, steps=60, workers=8)
    parser.add_argument("config", type=Path, nargs="?", default=RECIPE)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--jpeg", action="store_true", help="decode synthetic JPEGs instead of ready samples")
    parser.add_argument("--images", type=Path, help="decode the images of these class folders")
    parser.add_argument("--class-labels", action="store_true", help="without score maps")
    parser.add_argument("--released", type=Path, help="checkout of the authors' repository")
    parser.add_argument("--json", type=Path, help="append the rows to this file")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    args = parser.parse_args()
    init_default_scope("mmpretrain")
    with tempfile.TemporaryDirectory() as folder:
        runner, clock = Runner.from_cfg(make_config(args, Path(folder))), StepClock()
        runner.register_hook(clock)
        runner.train()
        synchronize(args.device)
        print("| what | ms | images/s |\n|---|---|---|")
        medians, bare_steps = clock.medians(), max(args.steps // 3, 2)
        for part, seconds in medians.items():
            if seconds >= SHOWN_SECONDS:
                report(f"run, {part}", seconds, args)
        batch = next(iter(runner.train_dataloader))
        bare = bare_step(runner, batch, bare_steps)
        report("bare step", bare, args)
        print(f"| share of the bare step's rate | | {bare / medians['step']:.3f} |")
        unchanged = {name: tensor for name, tensor in batch.items() if name != "augment"}
        prepare = partial(runner.model.data_preprocessor, training=True)
        for name, data in (("data preprocessor", batch), ("data preprocessor, no augmentation", unchanged)):
            report(f"complete {name}", seconds_per_call(partial(prepare, data), bare_steps, args.device), args)
    if args.released:
        report("released step", released_step(args.released, args.batch, bare_steps), args)


if __name__ == "__main__":
    main()
