"""Keep logged values on the device until somebody reads them: mmengine waits for the device in every iteration."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine import hooks
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import Runner
from torch import Tensor

from mmtl.registry import HOOKS

MAX_PENDING = 1000  # fetch after this many iterations even if nobody reads, to bound memory


class Pending(NamedTuple):
    """Values [n] of one iteration on the device, and the histories that they belong to."""

    histories: Sequence["LazyHistoryBuffer"]
    values: Tensor


class PendingScalars:
    """Logged values of a run that have not been fetched from the device."""

    def __init__(self) -> None:
        self.pending: list[Pending] = []

    def add(self, histories: Sequence["LazyHistoryBuffer"], values: Sequence[Tensor]) -> None:
        """Add one value to each history."""
        by_kind = defaultdict(list)
        for history, value in zip(histories, values, strict=True):
            by_kind[value.dtype, value.device].append((history, value.detach().reshape(())))
        for pairs in by_kind.values():  # a copy, as a compiled step may reuse the memory of its outputs
            self.pending.append(Pending([history for history, _ in pairs], torch.stack([value for _, value in pairs])))
        if len(self.pending) > MAX_PENDING:
            self.fetch()

    def fetch(self) -> None:
        """Move all values to their histories, with one transfer for each dtype and device."""
        pending, self.pending = self.pending, []
        by_kind = defaultdict(list)
        for entry in pending:
            by_kind[entry.values.dtype, entry.values.device].append(entry.values)
        numbers = {kind: iter(torch.cat(values).tolist()) for kind, values in by_kind.items()}
        fetched = defaultdict(list)
        for entry in pending:
            for history in entry.histories:
                fetched[history].append(next(numbers[entry.values.dtype, entry.values.device]))
        for history, values in fetched.items():
            history.extend(values)


class LazyHistoryBuffer(HistoryBuffer):
    """A history whose latest values are fetched from the device when it is read.

    Copies and pickles are plain HistoryBuffers, so checkpoints do not change.

    Args:
        scalars: pending values of this and other histories.
        start: history to continue.
    """

    def __init__(self, scalars: PendingScalars, start: HistoryBuffer) -> None:
        self.scalars = scalars
        super().__init__(*start.data, max_length=start.max_length)

    @property
    def _log_history(self) -> np.ndarray:
        self.scalars.fetch()
        return self._logs

    @_log_history.setter
    def _log_history(self, logs: np.ndarray) -> None:
        self._logs = logs

    @property
    def _count_history(self) -> np.ndarray:
        self.scalars.fetch()
        return self._counts

    @_count_history.setter
    def _count_history(self, counts: np.ndarray) -> None:
        self._counts = counts

    def extend(self, values: Sequence[float]) -> None:
        """Append values, each with count 1."""
        self._logs = np.append(self._logs, values)[-self.max_length :]
        self._counts = np.append(self._counts, np.ones(len(values), self._counts.dtype))[-self.max_length :]

    def plain(self) -> HistoryBuffer:
        """Return a HistoryBuffer of the same values."""
        return HistoryBuffer(self._log_history, self._count_history, self.max_length)

    def __deepcopy__(self, memo: dict) -> HistoryBuffer:
        return self.plain()

    def __reduce__(self) -> tuple:
        return HistoryBuffer, (*self.data, self.max_length)


@HOOKS.register_module()
class RuntimeInfoHook(hooks.RuntimeInfoHook):
    """mmengine's RuntimeInfoHook without waiting for the device in every iteration.

    mmengine's hook calls ``.item()`` on every logged value in every iteration. This one keeps the values on the
    device until a hook reads them, such as LoggerHook once per logging interval or CheckpointHook, and then fetches
    those of all iterations at once. The logged numbers are the same.
    """

    def before_run(self, runner: Runner) -> None:
        """Record the run's settings."""
        super().before_run(runner)
        self.scalars = PendingScalars()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Record the values that the model logs; tensors are fetched later."""
        tensors = {}
        for key, value in (outputs or {}).items():
            if isinstance(value, Tensor):
                tensors[self._history(runner.message_hub, f"train/{key}")] = value
            else:
                runner.message_hub.update_scalar(f"train/{key}", value)
        self.scalars.add(list(tensors), list(tensors.values()))

    def _history(self, hub: MessageHub, key: str) -> LazyHistoryBuffer:
        """Return the history of a key in the message hub; those of a resumed run are replaced by lazy ones."""
        history = hub.log_scalars.get(key)
        if not isinstance(history, LazyHistoryBuffer) or history.scalars is not self.scalars:
            hub._set_resumed_keys(key, True)  # as update_scalar does
            history = hub.log_scalars[key] = LazyHistoryBuffer(self.scalars, history or HistoryBuffer())
        return history
