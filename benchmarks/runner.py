"""The rate of a complete training run, where its main thread spends the time, and the bare step beside it.

    python benchmarks/runner.py --device cuda --compile             # samples that are ready in memory
    python benchmarks/runner.py --device cuda --compile --jpeg      # synthetic JPEGs of ImageNet's size
    python benchmarks/runner.py --batch 4 --steps 8 --workers 0     # dry run on a CPU
    python benchmarks/runner.py --device cuda --released CHECKOUT   # the authors' code, which needs timm 0.4.5

The run is the recipe's: its data loader, data preprocessor, optimizer wrapper and hooks under mmengine's Runner,
without validation and checkpoints. Ready samples are 64 packed outputs of the recipe's own pipeline, so the run
includes everything but decoding and cropping. The bare step repeats forward, backward and optimizer on one batch whose
targets are ready, compiled if the run is. The authors' step takes as many images and score maps of the same size.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from measure import synchronize
from mmengine.config import Config, DictAction
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner
from pipeline import write_score_maps
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


def draw_images(folder: Path, count: int = READY_SAMPLES) -> Path:
    """Write smooth noise as JPEGs of ImageNet's mean size, 500 x 375, into two class folders."""
    generator = np.random.default_rng(0)
    for index in range(count):
        coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (500, 375), interpolation=cv2.INTER_CUBIC)
        path = folder / f"class_{index % 2}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    return folder


def make_config(args: argparse.Namespace, folder: Path) -> Config:
    """Return the recipe for a short run on images of a folder, without validation and checkpoints."""
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    images = args.images or draw_images(folder / "images")
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

    def __init__(self) -> None:
        self.stamps: list[float] = []
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def before_train(self, runner: Runner) -> None:
        """Measure the parts from here on."""
        wrapper = runner.optim_wrapper
        self.wrap(unwrap_model(runner.model).data_preprocessor, "forward", "data preprocessor")
        self.wrap(runner.model, "_run_forward", "forward")
        for name in ("backward", "step", "zero_grad"):
            self.wrap(wrapper, name, f"optimizer wrapper: {name}")
        for hook in set(runner.hooks) - {self}:
            self.wrap(hook, "after_train_iter", f"hook: {type(hook).__name__}")
        self.wrap(runner, "call_hook", "", on_end=self.stamp)

    def wrap(self, owner: object, name: str, part: str, on_end: Callable[..., None] | None = None) -> None:
        """Measure a method of an object."""
        method = getattr(owner, name)

        def timed(*args: object, **kwargs: object) -> object:
            start = time.perf_counter()
            result = method(*args, **kwargs)
            if part:
                self.seconds[part].append(time.perf_counter() - start)
            if on_end:
                on_end(*args)
            return result

        object.__setattr__(owner, name, timed)

    def stamp(self, hook_method: str, *args: object) -> None:
        """Record the end of a step."""
        if hook_method == "after_train_iter":
            self.stamps.append(time.perf_counter())

    def medians(self) -> dict[str, float]:
        """Return the median seconds of a step and of its parts after the warm-up."""
        first = int(WARM_UP * len(self.stamps))
        step = (self.stamps[-1] - self.stamps[first]) / (len(self.stamps) - 1 - first)
        parts = {part: statistics.median(values[first:]) for part, values in self.seconds.items() if values[first:]}
        waiting = step - sum(parts.values())
        return {"step": step, **parts, "data loader and the rest": waiting}


def bare_step(runner: Runner, batch: dict, steps: int) -> float:
    """Return the seconds of a step on one batch that is ready on the device, without loader, hooks and log."""
    model, wrapper = runner.model, runner.optim_wrapper
    device = next(model.parameters()).device.type
    prepared = model.data_preprocessor(batch, training=True)
    for step in range(2 * steps):
        if step == steps:
            synchronize(device)
            start = time.perf_counter()
        with wrapper.optim_context(model):
            losses = model(**prepared, mode="loss")
        wrapper.update_params(model.parse_losses(losses)[0])
    synchronize(device)
    return (time.perf_counter() - start) / steps


def released_step(checkout: Path, batch: int, steps: int) -> float:
    """Return the seconds of the authors' step: targets from score maps, forward, loss, backward and AdamW."""
    sys.path.insert(0, str(checkout))
    from tlt.data import create_token_label_target
    from tlt.loss import TokenLabelCrossEntropy
    from tlt.models import lvvit_s

    model = lvvit_s(drop_path_rate=0.1).cuda().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)
    criterion = TokenLabelCrossEntropy(dense_weight=0.5).cuda()
    images = torch.randn(batch, 3, 224, 224, device="cuda")
    maps = torch.zeros(batch, 3, 5, 18, 18)
    maps[:, 0] = torch.randn(batch, 5, 18, 18).mul(3).sort(dim=1, descending=True).values
    maps[:, 1] = torch.randint(990, (batch, 1, 18, 18)) + torch.arange(5).view(1, 5, 1, 1)
    maps[:, 2, 0, 0, :4] = torch.tensor([0.2, 0.3, 0.5, 0.5])  # where its loader puts the crop
    scaler = torch.amp.GradScaler()
    for step in range(2 * steps):
        if step == steps:
            torch.cuda.synchronize()
            start = time.perf_counter()
        target = create_token_label_target(maps.cuda(), num_classes=1000, smoothing=0.1, label_size=14)
        with torch.autocast("cuda", torch.float16):
            loss = criterion(model(images), target)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps


def report(name: str, seconds: float, args: argparse.Namespace) -> None:
    """Print one row of the table, and as JSON for scripts."""
    print(f"| {name} | {1e3 * seconds:.2f} | {args.batch / seconds:.0f} |", flush=True)
    if args.json:
        with args.json.open("a") as file:
            settings = {key: str(value) for key, value in vars(args).items() if key != "json"}
            file.write(json.dumps({"name": name, "seconds": seconds, "batch": args.batch, **settings}) + "\n")


def main() -> None:
    """Print a table: the run, its main thread, the bare step and, if asked for, the authors' step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, nargs="?", default=RECIPE)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
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
        runner = Runner.from_cfg(make_config(args, Path(folder)))
        clock = StepClock()
        runner.register_hook(clock)
        runner.train()
        synchronize(args.device)
        print("| what | ms | images/s |\n|---|---|---|")
        medians = clock.medians()
        for part, seconds in medians.items():
            if seconds >= SHOWN_SECONDS:
                report(f"run, {part}", seconds, args)
        batch = next(iter(runner.train_dataloader))
        bare = bare_step(runner, batch, max(args.steps // 3, 2))
        report("bare step", bare, args)
        print(f"| share of the bare step's rate | | {bare / medians['step']:.3f} |")
    if args.released:
        report("released step", released_step(args.released, args.batch, max(args.steps // 3, 2)), args)


if __name__ == "__main__":
    main()
