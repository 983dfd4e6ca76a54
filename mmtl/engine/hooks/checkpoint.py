"""Write checkpoints atomically, and resume from the last intact one."""

import re
from pathlib import Path
from typing import Any

from mmengine import hooks
from mmengine.dist import barrier, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.runner import Runner

from mmtl.registry import HOOKS
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.checkpoint import file_problem

BACKEND = "mmtl_atomic"


@register_backend(BACKEND)
class AtomicFileBackend(LocalBackend):
    """Local files that are written atomically."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file atomically."""
        with atomic_file(filepath) as temporary:
            super().put(obj, temporary)


@HOOKS.register_module()
class CheckpointHook(hooks.CheckpointHook):
    """mmengine's CheckpointHook with files that are written atomically, and which resumes from an intact one.

    Resuming without a path uses the last checkpoint or, if that is corrupt, the last intact one before it, with a
    warning. Resuming from a corrupt one by its path is an error.

    Args:
        max_keep_ckpts: number of checkpoints to keep, not 1: the parent removes the oldest before it writes the next.
        *args: as of the parent, like the keyword arguments; without ``backend_args`` a local file is written.
    """

    def __init__(self, *args: Any, max_keep_ckpts: int = 2, **kwargs: Any) -> None:
        if max_keep_ckpts == 1:
            raise ValueError(
                "max_keep_ckpts of mmtl.CheckpointHook must be 2 or more, or -1 to keep all, got 1. The oldest "
                "checkpoint is removed before the next is written: a kill in between would leave none."
            )
        kwargs["backend_args"] = kwargs.get("backend_args") or {"backend": BACKEND}
        super().__init__(*args, max_keep_ckpts=max_keep_ckpts, **kwargs)

    def before_run(self, runner: Runner) -> None:
        """Make mmengine resume from an intact checkpoint."""
        if not runner._resume:
            return
        if runner._load_from is None:
            if is_main_process():
                self._point_to_intact(runner)
            barrier()
        elif Path(runner._load_from).exists() and (problem := file_problem(Path(runner._load_from))):
            raise ValueError(
                f"Cannot resume from {runner._load_from}: {problem}. Give another checkpoint, or --resume without a "
                f"path for the last intact one in {runner.work_dir}."
            )

    def _point_to_intact(self, runner: Runner) -> None:
        """Make the file ``last_checkpoint``, which mmengine follows, name an intact checkpoint, or remove it."""
        pointer = Path(runner.work_dir, "last_checkpoint")
        named = Path(pointer.read_text().strip() if pointer.exists() else "")  # empty after a kill while writing it
        folder = named.parent if named.name and named.parent.is_dir() else Path(self.out_dir or runner.work_dir)
        candidates = self._until(named.name, folder)
        for path in candidates:
            problem = file_problem(path)
            if problem is None:
                if path != named:
                    runner.logger.warning(f"Falling back to the last intact checkpoint, {path}.")
                    AtomicFileBackend().put(str(path).encode(), pointer)
                return
            runner.logger.warning(f"Checkpoint {path} is not used: {problem}.")
        if candidates:
            runner.logger.warning(f"No intact checkpoint in {folder}: training starts from the beginning.")
            pointer.unlink(missing_ok=True)

    def _until(self, name: str, folder: Path) -> list[Path]:
        """Return the named checkpoint of a folder and those before it, latest first; without a name, all of them."""
        pattern = re.compile(re.escape(self.filename_tmpl).replace(r"\{\}", r"(\d+)"))
        numbers = {path: int(match[1]) for path in folder.glob("*") if (match := pattern.fullmatch(path.name))}
        last = pattern.fullmatch(name)
        earlier = [path for path in numbers if last is None or numbers[path] < int(last[1])]
        return ([folder / name] if name else []) + sorted(earlier, key=numbers.get, reverse=True)
