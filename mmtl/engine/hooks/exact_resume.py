"""Resume a run exactly: every random draw depends only on the seed and the position in the run."""

import functools
import hashlib
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, Dataset, Sampler

from mmtl.engine.hooks.changed_resume import adapt_to_changes, loop_record
from mmtl.registry import HOOKS


class NumberedIndex(NamedTuple):
    """An index of the dataset and the sample's position in the sequence of all samples of this rank in the run."""

    index: int
    position: int


class NumberedSampler(Sampler):
    """Number the indices of another sampler by their position in the run."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self.skip = 0  # number of indices to skip at the start of the next pass
        self.position = 0  # of the next index

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[NumberedIndex]:
        skip, self.skip = self.skip, 0
        for index in islice(self.sampler, skip, None):
            yield NumberedIndex(index, self.position)
            self.position += 1


def seed_generators(*key: int) -> None:
    """Seed the generators of Python, NumPy and PyTorch (CPU) from non-negative integers."""
    # A hash and integer seeds: SeedSequence and seeding NumPy from an array take three times as long.
    digest = hashlib.blake2b(" ".join(map(str, key)).encode(), digest_size=8).digest()
    seed = int.from_bytes(digest, "little")
    random.seed(seed)
    np.random.seed(seed >> 32)
    # torch.manual_seed also records the call stack for uninitialized devices, which takes longer than all of this.
    torch.default_generator.manual_seed(seed)


def load_seeded(dataset: Dataset, seed: int, rank: int, items: Sequence[NumberedIndex | int]) -> list[Any]:
    """Load the samples of a batch, each numbered one with its own seed; plain indices come from other loaders."""
    samples = []
    for item in items:
        if isinstance(item, NumberedIndex):
            seed_generators(seed, rank, 0, item.position)
            item = item.index
        samples.append(dataset[item])
    return samples


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Resume a run that stopped anywhere with exactly the losses of the uninterrupted run.

    All generators are seeded again before every iteration, from seed, rank and iteration, and before every sample,
    from its position in the run. So no state of generators or data-loader workers has to be saved, and the samples
    do not depend on the number of workers. When a run resumes inside an epoch, the samples already read are skipped
    without reading them. Works with epoch- and iteration-based loops, and with checkpoints of either kind.

    Gradients of an unfinished accumulation are saved in the checkpoint, in a run of one rank.

    A run with another batch size, number of ranks or of images resumes from the same share of the epoch, and one with
    another schedule, learning rate or weight decay uses the new values from there on; the log reports both.
    """

    def __init__(self) -> None:
        self.is_exact = True

    def before_train(self, runner: Runner) -> None:
        """Number the samples of the training data loader."""
        runner.message_hub.update_info("train_loop", loop_record(runner))  # saved in every checkpoint
        loader = runner.train_loop.dataloader
        if type(loader.batch_sampler) is not BatchSampler or not hasattr(loader.dataset, "__dict__"):
            self.is_exact = False
            runner.logger.warning(
                "This run resumes inexactly: ExactResumeHook needs torch's BatchSampler and a dataset class, got "
                f"{type(loader.batch_sampler).__name__} and {type(loader.dataset).__name__}."
            )
            return
        if not isinstance(loader.batch_sampler.sampler, NumberedSampler):
            loader.batch_sampler.sampler = NumberedSampler(loader.batch_sampler.sampler)
        # torch fetches a batch by dataset.__getitems__ if there is one; workers receive it with the dataset.
        loader.dataset.__getitems__ = functools.partial(load_seeded, loader.dataset, runner.seed, get_rank())

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the position in the run at which the samples of this epoch start."""
        if not self.is_exact:
            return
        loop, sampler = runner.train_loop, runner.train_loop.dataloader.batch_sampler.sampler
        batch_size = loop.dataloader.batch_size
        if isinstance(loop, EpochBasedTrainLoop):
            done = loop.iter - loop.epoch * len(loop.dataloader)
            sampler.skip = done * batch_size
            sampler.position = loop.epoch * len(sampler) + sampler.skip
            if done:
                runner.logger.info(
                    f"Epoch {loop.epoch + 1} resumes after {done} of its {len(loop.dataloader)} iterations; "
                    "this log counts the remaining iterations from 1."
                )
        elif hasattr(sampler.sampler, "skip"):  # mmengine skips finished iterations by itself, or reads them again
            sampler.position = loop.iter * batch_size

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed the draws of the model and the batch augments in this iteration."""
        seed_generators(runner.seed, get_rank(), 1, runner.iter)
        torch.manual_seed(torch.initial_seed())  # seeds the devices too

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the gradients of an unfinished accumulation."""
        if get_world_size() == 1 and not runner.optim_wrapper.should_update():
            gradients = {name: p.grad.cpu() for name, p in runner.model.named_parameters() if p.grad is not None}
            checkpoint["accumulated_gradients"] = gradients

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adapt the checkpoint to settings that changed, and restore the accumulated gradients of a resumed run."""
        if not runner._resume or not isinstance(runner._train_loop, BaseLoop):  # a test resumes weights only
            return
        adapt_to_changes(runner, checkpoint)
        parameters = dict(runner.model.named_parameters())
        for name, gradient in checkpoint.get("accumulated_gradients", {}).items():
            parameters[name].grad = gradient.to(parameters[name])
