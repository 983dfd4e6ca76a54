"""Keep logged values on the device until somebody reads them: mmengine waits for the device in every iteration."""

from collections import OrderedDict, defaultdict
from collections.abc import ItemsView, ValuesView
from typing import Any

import torch
from mmengine import hooks
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner
from torch import Tensor

from mmtl.registry import HOOKS
from mmtl.utils.config_file import warn_of_changes_without_effect

MAX_PENDING = 1000  # fetch after this many iterations even if nobody reads, to bound memory


class LazyScalars(OrderedDict):
    """The histories of a message hub by key; reading one of late values fetches them from the device first."""

    def __init__(self, histories: dict[str, HistoryBuffer]) -> None:
        super().__init__(histories)
        self.late: set[str] = set()  # keys with values on the device
        # by dtype and device, for each iteration the keys and their values [n]
        self.pending: dict[tuple, list[tuple[list[str], Tensor]]] = defaultdict(list)

    def add(self, values: dict[str, Tensor]) -> None:
        """Add one value to the history of each key, which must exist."""
        by_kind = defaultdict(dict)
        for key, value in values.items():
            by_kind[value.dtype, value.device][key] = value.detach().reshape(())
        self.late.update(values)
        for kind, same in by_kind.items():  # a copy, as a compiled step may reuse the memory of its outputs
            self.pending[kind].append((list(same), torch.stack(list(same.values()))))
            if len(self.pending[kind]) > MAX_PENDING:
                self.fetch()

    def fetch(self) -> None:
        """Move all values to their histories, with one transfer for each dtype and device."""
        pending = list(self.pending.values())
        self.pending.clear()
        self.late.clear()
        for entries in pending:
            numbers = iter(torch.cat([values for _, values in entries]).tolist())
            for keys, _ in entries:
                for key in keys:
                    self[key].update(next(numbers))

    def __getitem__(self, key: str) -> HistoryBuffer:
        if key in self.late:
            self.fetch()
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the history of a key."""
        return self[key] if key in self else default

    def items(self) -> ItemsView[str, HistoryBuffer]:
        """Return all keys and histories."""
        self.fetch()
        return super().items()

    def values(self) -> ValuesView[HistoryBuffer]:
        """Return all histories."""
        self.fetch()
        return super().values()

    def __reduce__(self) -> tuple:
        return OrderedDict, (list(self.items()),)


@HOOKS.register_module()
class RuntimeInfoHook(hooks.RuntimeInfoHook):
    """mmengine's RuntimeInfoHook without waiting for the device in every iteration.

    mmengine's hook calls ``.item()`` on every logged value in every iteration. This one keeps the values on the
    device until a hook reads them, such as LoggerHook once per logging interval or CheckpointHook, and then fetches
    those of all iterations at once. The logged numbers are the same. Command-line options without effect are reported.
    """

    def before_run(self, runner: Runner) -> None:
        """Warn of options that change nothing."""
        super().before_run(runner)
        warn_of_changes_without_effect(runner.cfg)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Record the values that the model logs; tensors are fetched later."""
        hub, tensors = runner.message_hub, {}
        if not isinstance(hub.log_scalars, LazyScalars):
            hub._log_scalars = LazyScalars(hub.log_scalars)
        for key, value in (outputs or {}).items():
            if isinstance(value, Tensor):
                tensors[f"train/{key}"] = value
                if f"train/{key}" not in hub.log_scalars:  # as update_scalar does
                    hub.log_scalars[f"train/{key}"] = HistoryBuffer()
                    hub._set_resumed_keys(f"train/{key}", True)
            else:
                hub.update_scalar(f"train/{key}", value)
        hub.log_scalars.add(tensors)
