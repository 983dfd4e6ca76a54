"""Hand a command over to the script of MMPretrain or MMSegmentation, whichever a config is for."""

import os
import re
import runpy
import shlex
import sys
import traceback
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib.util import find_spec
from logging import FileHandler
from pathlib import Path

import torch
from mmengine.config import Config

from mmtl.apis.run_steps import Progress
from mmtl.apis.start.edited import check_edits
from mmtl.apis.start.written import MARKER
from mmtl.engine.runner import NO_DATA, missing_folder
from mmtl.score_maps.folder_lock import FolderLock
from mmtl.utils import checkpoint  # noqa: F401 - importing it makes MMEngine read checkpoints without running their code
from mmtl.utils.cli import message_of
from mmtl.utils.config_file import read_config
from mmtl.utils.processes import IS_STEP, stopped_by
from mmtl.utils.shipped_files import find_config

PACKAGES = ("mmpretrain", "mmseg")
# Messages of mmtl.LoadImageFromFile and mmcv's.
UNREADABLE = re.compile(
    r"(?P<path>.+): cannot read the image: (?P<reason>.+)\. Restore it|failed to load image: (?P<failed>.+)"
    r"|\[Errno 2\] No such file or directory: '(?P<absent>.+)'"
)
CONFIG_SUFFIXES = (".py", ".json", ".yaml", ".yml")


def upstream_script(cfg: Config, tool: str, options: Sequence[str] = ()) -> Path:
    """Return the script ``tool``, "train" or "test", of the package that a config's ``default_scope`` names.

    The config must have a model, unless command line options set it.
    """
    scope = cfg.get("default_scope")
    if scope not in PACKAGES:
        raise ValueError(
            f"{cfg.filename}: default_scope must be one of {', '.join(PACKAGES)}, got {scope!r}. Set it, or inherit "
            "_base_/pretrain_runtime.py or _base_/segment_runtime.py."
        )
    if not cfg.get("model") and not any(word.startswith(("model=", "model.")) for word in options):
        raise ValueError(
            f"{cfg.filename}: model must be the config of a model, got {cfg.get('model')!r}. Set it, or inherit a "
            "file of _base_/models."
        )
    return Path(find_spec(scope).origin).parent / ".mim" / "tools" / f"{tool}.py"


def hand_over(tool: str, arguments: list[str], keep_traceback: bool = False) -> int:
    """Run the upstream script with the same arguments and return the exit code.

    Args:
        tool: "train" or "test".
        arguments: a config (a file, or the name of one of mmtl's) and options of the script; besides those,
            ``--gpus`` (0: only the CPU; more than 1 with ``--launcher pytorch`` starts that many processes) and, as in
            mim, ``--checkpoint``; of a test also ``--worst N``, which adds `mmtl.WorstImagesHook`.
        keep_traceback: whether errors of the script, except for a device without free memory, print their traceback,
            which may be of a user's code; otherwise only the run's log file gets it.
    """
    own = ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--gpus", "--processes", type=int)
    own.add_argument("--checkpoint")
    if tool == "test":
        own.add_argument("--worst", type=int, metavar="N")
    known, rest = own.parse_known_args(arguments)
    config = find_config(_take_config(tool, rest))
    for text in check_edits(config):
        print(f"WARNING: {text}", file=sys.stderr)
    if getattr(known, "worst", None) is not None:
        hook = dict(type="mmtl.WorstImagesHook", count=known.worst)
        rest += ["--cfg-options", *(f"default_hooks.worst_images.{name}={value}" for name, value in hook.items())]
    cfg = read_config(config, warn=False)  # the run warns
    script = upstream_script(cfg, tool, rest)
    has_own = any(word.startswith(("--work-dir", "work_dir=")) for word in rest)
    if tool == "train" and not has_own and not os.environ.get(IS_STEP):
        _lock = lock_step(cfg, "--resume" in rest)  # released at the end of this function
    if known.gpus == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if (known.gpus or 1) > 1 and "--launcher" not in rest:
        raise ValueError(f"--gpus {known.gpus} needs --launcher pytorch, or slurm under srun.")
    if "RANK" not in os.environ and _launcher(rest) == "pytorch":
        from mmtl.annotators.launch import start_processes

        return start_processes(known.gpus)
    # The config first: an option with several values would take what follows it.
    sys.path[0] = str(script.parent)
    sys.argv = [str(script), str(config), *([known.checkpoint] if known.checkpoint else []), *rest]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        if stopped_by(error):
            raise
        if keep_traceback:
            traceback.print_exc()
            return 1
        _log_traceback()
        if text := unreadable_image(message_of(error), cfg):
            raise ValueError(text) from error
        raise
    return 0


def lock_step(cfg: Config, resumes: bool) -> FolderLock | None:
    """Lock the work of `mmtl train FOLDER` if a config trains in the work directory of one of its steps.

    Raises:
        ValueError: The step is of another config, or has finished and the training does not resume.
        FileExistsError: Another run writes there.
    """
    run = Path(cfg.get("work_dir") or "")
    record = Progress(run.parent / "steps.json").steps.get(run.name, {})
    words = shlex.split(record.get("command", ""))
    if words[:2] != ["mmtl", "train"] or not Path(words[2]).exists():
        return None
    if not Path(words[2]).samefile(cfg.filename) or (record.get("finished") and not resumes):
        raise ValueError(
            f"{cfg.filename}: work_dir must not be {run}, which has the results of {words[2]}. Change it, or add "
            "--work-dir DIR."
        )
    return FolderLock(run.parent) if os.environ.get("RANK", "0") == "0" else None


def unreadable_image(message: str, cfg: Config) -> str | None:
    """Return what to do about an image that could not be read, if it is in a list of images of a config."""
    if not (found := UNREADABLE.match(message)):
        return None
    path = found["path"] or found["failed"] or found["absent"]
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        if folder := missing_folder(cfg.get(name) or {}):
            return f"{folder} {NO_DATA}"
        listed = (cfg.get(name) or {}).get("dataset", {}).get("ann_file")
        lines = Path(listed).read_text(encoding="utf-8").splitlines() if listed and Path(listed).is_file() else []
        for number, line in enumerate(lines, 1):
            if f"/{path}".endswith("/" + re.split(r"\t| \d+$", line)[0].lstrip("/")):
                again = ", or run `mmtl start` again" * Path(listed).with_name(MARKER).is_file()
                remedy = f"Restore it, or delete line {number} of {listed}{again}."
                reason = found["reason"] or ("it does not exist" if found["absent"] else "it cannot be decoded")
                return f"{path}: cannot read the image: {reason}. {remedy}"
    return None


def _take_config(tool: str, arguments: list[str]) -> str:
    """Remove the config from the arguments and return it."""
    first = arguments[0] if arguments and not arguments[0].startswith("-") else None
    found = first or next((word for word in arguments if word.endswith(CONFIG_SUFFIXES) and "=" not in word), None)
    if found is None:
        raise ValueError(f"Give a config: mmtl {tool} CONFIG, a file that ends in .py or a name of `mmtl list`.")
    arguments.remove(found)
    return found


def _launcher(arguments: list[str]) -> str | None:
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--launcher")
    return parser.parse_known_args(arguments)[0].launcher


def _log_traceback() -> None:
    """Write the traceback of the current error into the run's log files: the screen shows one line of it."""
    from mmengine.logging import MMLogger

    for handler in MMLogger.get_current_instance().handlers:
        if isinstance(handler, FileHandler) and handler.stream:
            handler.stream.write(traceback.format_exc())
            handler.flush()
