"""What makes a resumed run repeat the uninterrupted one: draws that follow from the place in the run alone."""

import functools
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, Dataset, Sampler

from mmtl.registry import HOOKS


class Placed(NamedTuple):
    """An index of the data set and the place of the sample among all that this process sees in the run."""

    index: int
    place: int


class PlacedSampler(Sampler):
    """The indices of another sampler, each with its place in the run.

    Args:
        sampler: The other sampler.

    Attributes:
        skip: Indices to leave out at the start of the next pass.
        place: Place of the next index.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self.skip = self.place = 0

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Placed]:
        skip, self.skip = self.skip, 0
        for index in islice(self.sampler, skip, None):
            yield Placed(index, self.place)
            self.place += 1


def seed_generators(*key: int) -> None:
    """Seed python, numpy and torch's CPU generator with a mixture of non-negative integers."""
    words = np.random.SeedSequence(key).generate_state(4)
    random.seed(words.tobytes())
    np.random.seed(words)
    # torch.manual_seed would also note the stack for devices not in use, which takes longer than all of this.
    torch.default_generator.manual_seed(int(words.view(np.uint64)[0]))


def load_placed(dataset: Dataset, seed: int, rank: int, items: Sequence[Placed | int]) -> list[Any]:
    """Samples of a batch, the draws of each seeded by its place; a plain index (of another loader) is just loaded."""
    samples = []
    for item in items:
        if isinstance(item, Placed):
            seed_generators(seed, rank, 0, item.place)
            item = item.index
        samples.append(dataset[item])
    return samples


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Lets a run that was stopped anywhere go on with the losses that it would have had.

    Nothing random outlives its use: the generators are seeded anew before every iteration, from the run's seed,
    the process's rank and the iteration, and before every sample, from its place in the run. So there is no state of
    generators or of data-loader workers to save; a run with four workers and one with none see the same samples. On
    resuming inside an epoch, its first samples are left out unread. Works with epoch- and iteration-based
    loops, and with checkpoints of either kind.

    Gradients that are still being accumulated are stored in the checkpoint, in a run of one process.
    """

    def before_train(self, runner: Runner) -> None:
        """Numbers the samples of the training data loader."""
        loader = runner.train_loop.dataloader
        if type(loader.batch_sampler) is not BatchSampler:
            raise ValueError(
                f"ExactResumeHook numbers the samples of torch's BatchSampler, this run has a "
                f"{type(loader.batch_sampler).__name__}: remove the batch sampler, or the hook to resume inexactly "
                "(the line exact_resume of default_hooks)"
            )
        if not isinstance(loader.batch_sampler.sampler, PlacedSampler):
            loader.batch_sampler.sampler = PlacedSampler(loader.batch_sampler.sampler)
        # torch's door for loading a batch at once, see torch.utils.data.Dataset; workers get it with the data set.
        loader.dataset.__getitems__ = functools.partial(load_placed, loader.dataset, runner.seed, get_rank())

    def before_train_epoch(self, runner: Runner) -> None:
        """Finds the place to begin at."""
        loop, sampler = runner.train_loop, runner.train_loop.dataloader.batch_sampler.sampler
        batch_size = loop.dataloader.batch_size
        if isinstance(loop, EpochBasedTrainLoop):
            done = loop.iter - loop.epoch * len(loop.dataloader)
            sampler.skip = done * batch_size
            sampler.place = loop.epoch * len(sampler) + sampler.skip
            if done:
                runner.logger.info(
                    f"Epoch {loop.epoch + 1} goes on after {done} of its {len(loop.dataloader)} iterations; this "
                    "log counts the rest of it from 1."
                )
        elif hasattr(sampler.sampler, "skip"):  # mmengine is about to skip what was done; else it reads it again
            sampler.place = loop.iter * batch_size

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seeds what the model and the batch augments draw in this iteration."""
        seed_generators(runner.seed, get_rank(), 1, runner.iter)
        torch.manual_seed(torch.initial_seed())  # devices too

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds the gradients of an unfinished accumulation."""
        if get_world_size() == 1 and not runner.optim_wrapper.should_update():
            gradients = {name: p.grad.cpu() for name, p in runner.model.named_parameters() if p.grad is not None}
            checkpoint["accumulated_gradients"] = gradients

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Takes them up again when resuming."""
        if not runner._resume:
            return
        parameters = dict(runner.model.named_parameters())
        for name, gradient in checkpoint.get("accumulated_gradients", {}).items():
            parameters[name].grad = gradient.to(parameters[name])
