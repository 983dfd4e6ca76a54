"""Checkpoints that appear whole or not at all, and the last whole one on resuming."""

import re
import zipfile
from pathlib import Path
from typing import Any

from mmengine import hooks
from mmengine.dist import barrier, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.runner import Runner

from mmtl.registry import HOOKS
from mmtl.utils.atomic_file import atomic_file

BACKEND = "mmtl_renamed"


@register_backend(BACKEND)
class RenamedFileBackend(LocalBackend):
    """Local files that bear their name only when they are whole."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file atomically."""
        with atomic_file(filepath) as temporary:
            super().put(obj, temporary)


@HOOKS.register_module()
class CheckpointHook(hooks.CheckpointHook):
    """mmengine's CheckpointHook whose files are written whole, and which resumes from none that is not.

    Resuming without a path takes the last checkpoint. When that one is damaged, the last whole one before it is taken,
    and the log says so. Resuming from a damaged one by its path stops.

    Args:
        *args: Of the parent, as are the keyword arguments.
        max_keep_ckpts: Not 1: the parent removes the oldest file before it writes the next.
        backend_args: Where to write; a local file by default.

    Raises:
        ValueError: ``max_keep_ckpts`` is 1, or the path to resume from is no whole checkpoint.
    """

    def __init__(
        self, *args: Any, max_keep_ckpts: int = 2, backend_args: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if max_keep_ckpts == 1:
            raise ValueError(
                "mmtl.CheckpointHook got max_keep_ckpts=1, but the oldest checkpoint is removed before the next is "
                "written: a kill in between would leave none. Set max_keep_ckpts to 2 or more, or -1 to keep all."
            )
        backend_args = backend_args or {"backend": BACKEND}
        super().__init__(*args, max_keep_ckpts=max_keep_ckpts, backend_args=backend_args, **kwargs)

    def before_run(self, runner: Runner) -> None:
        """Sees to it that mmengine resumes from a whole checkpoint."""
        if not runner._resume:
            return
        if runner._load_from is None:
            if is_main_process():
                self._point_to_whole(runner)
            barrier()
        elif Path(runner._load_from).exists() and (problem := damage(Path(runner._load_from))):
            raise ValueError(
                f"cannot resume from {runner._load_from}: {problem}. Give another checkpoint, or --resume alone for "
                f"the last whole one in {runner.work_dir}."
            )

    def _point_to_whole(self, runner: Runner) -> None:
        """Let the file ``last_checkpoint``, which mmengine follows, name a whole checkpoint, or be absent."""
        pointer = Path(runner.work_dir, "last_checkpoint")
        named = Path(pointer.read_text().strip() if pointer.exists() else "")  # empty after a kill in its writing
        folder = named.parent if named.name and named.parent.is_dir() else Path(self.out_dir or runner.work_dir)
        candidates = self._until(named.name, folder)
        for path in candidates:
            problem = damage(path)
            if problem is None:
                if path != named:
                    runner.logger.warning(f"Falling back to the last whole checkpoint, {path}.")
                    RenamedFileBackend().put(str(path).encode(), pointer)
                return
            runner.logger.warning(f"Checkpoint {path} is not used: {problem}.")
        if candidates:
            runner.logger.warning(f"No whole checkpoint in {folder}: training starts from the beginning.")
            pointer.unlink(missing_ok=True)

    def _until(self, name: str, folder: Path) -> list[Path]:
        """The named checkpoint of a folder and those before it, latest first; all of them when there is no name."""
        pattern = re.compile(re.escape(self.filename_tmpl).replace(r"\{\}", r"(\d+)"))
        numbers = {path: int(match[1]) for path in folder.glob("*") if (match := pattern.fullmatch(path.name))}
        last = pattern.fullmatch(name)
        earlier = [path for path in numbers if last is None or numbers[path] < int(last[1])]
        return ([folder / name] if name else []) + sorted(earlier, key=numbers.get, reverse=True)


def damage(path: Path) -> str | None:
    """What keeps a file from being a whole checkpoint, as ``torch.save`` writes them; None when it is whole."""
    if path.is_dir():  # a sharded checkpoint
        return None
    try:
        with zipfile.ZipFile(path) as records:
            broken = records.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        return f"it is missing or cut short ({error})"
    return f"its record {broken} is damaged" if broken else None


def no_checkpoint(path: Path) -> str | None:
    """What keeps a file from being a checkpoint of any age; None when nothing is seen."""
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"PK":
        return damage(path)
    # Before torch 1.6, and still in what OpenMMLab publishes, a checkpoint is a row of pickles without a checksum.
    return None if start[:1] == b"\x80" else "it is no checkpoint of torch, perhaps a page that told of an error"
