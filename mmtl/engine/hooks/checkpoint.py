"""Write checkpoints atomically, and resume from the last intact one."""

import re
from pathlib import Path
from typing import Any

from mmengine import hooks
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.runner import Runner

from mmtl.engine.hooks.finite_loss import check_weights
from mmtl.registry import HOOKS
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.checkpoint import file_problem
from mmtl.utils.text import in_line

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
    warning. Resuming from a corrupt one by its path is an error. Weights that are not finite are not saved.

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

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        """Check the weights before the parent removes an older checkpoint."""
        check_weights(runner.model, self.last_ckpt)
        super()._save_checkpoint_with_step(runner, step, meta)

    def before_run(self, runner: Runner) -> None:
        """Make mmengine resume from an intact checkpoint; nothing is removed."""
        if not runner._resume:
            return
        if runner._load_from is None:
            found = [self._last_intact(runner) if is_main_process() else None]
            broadcast_object_list(found)
            runner._load_from, runner._resume = found[0], found[0] is not None
        elif Path(runner._load_from).exists() and (problem := file_problem(Path(runner._load_from))):
            raise ValueError(
                f"Cannot resume from {in_line(f'{runner._load_from}: {problem}')}. Give another checkpoint, or "
                f"--resume without a path for the last intact one in {runner.work_dir}."
            )

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Save the best checkpoint, or warn that the validation does not give the metric to compare by."""
        missing = [name for name in self.save_best or () if name != "auto" and name not in metrics]
        if missing:
            runner.logger.warning(
                f"No best checkpoint is kept: default_hooks.checkpoint.save_best must be one of {sorted(metrics)}, "
                f"got {missing}. Set it, or None."
            )
        else:
            super()._save_best_checkpoint(runner, metrics)

    def _last_intact(self, runner: Runner) -> str | None:
        """Return the run's last intact checkpoint, None if there is none.

        It is the one that the file ``last_checkpoint`` names or one before it, in the run's own folder even if the
        file names another: that of the run whose work directory was copied. Later ones in the folder and the one in
        the other folder are used only if there is no other.
        """
        pointer = Path(runner.work_dir, "last_checkpoint")
        named = Path(pointer.read_text().strip() if pointer.exists() else "")  # empty after a kill while writing it
        own = Path(self.out_dir, Path(runner.work_dir).name) if self.out_dir else Path(runner.work_dir)
        before = self._until(named.name, own)
        later = [path for path in self._until("", own) if path not in before]
        elsewhere = [named] if named.name and named.parent.resolve() != own.resolve() else []
        candidates = [path for path in [*before, *later, *elsewhere] if path.exists() or path == named]
        for path in candidates:
            problem = file_problem(path)
            if problem is None:
                if path != named:
                    runner.logger.warning(f"Falling back to the last intact checkpoint of {own}, {in_line(path)}.")
                elif path in elsewhere:
                    text = f"{own} has no intact checkpoint: falling back to {in_line(path)} of another run."
                    runner.logger.warning(text)
                return str(path)
            runner.logger.warning(f"Checkpoint {in_line(f'{path} is not used: {problem}')}.")
        if candidates:
            runner.logger.warning(f"No intact checkpoint in {own}: training starts from the beginning.")
        return None

    def _until(self, name: str, folder: Path) -> list[Path]:
        """Return the named checkpoint of a folder and those before it, latest first; without a name, all of them."""
        pattern = re.compile(re.escape(self.filename_tmpl).replace(r"\{\}", r"(\d+)"))
        numbers = {path: int(match[1]) for path in folder.glob("*") if (match := pattern.fullmatch(path.name))}
        last = pattern.fullmatch(name)
        earlier = [path for path in numbers if last is None or numbers[path] < int(last[1])]
        return ([folder / name] if name else []) + sorted(earlier, key=numbers.get, reverse=True)
