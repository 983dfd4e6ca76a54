"""How processes end: cleanly on SIGTERM, and with the process that started them (standard library only)."""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import NoReturn

INTERVAL = 0.5  # seconds between checks for the parent
STARTED_BY = "MMTL_RANKS_STARTED_BY"  # environment variable of ranks: the process id of the tool that starts them
IS_STEP = "MMTL_IS_STEP"  # environment variable of commands that `mmtl train FOLDER` and the demo run in order


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use; PyTorch warns of more worker processes."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM; it cleans up as after Ctrl-C."""


def raise_on_sigterm() -> None:
    """Make SIGTERM raise `Terminated` in this process, and end forked children as usual."""
    signal.signal(signal.SIGTERM, _raise)
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def _raise(*_: object) -> NoReturn:
    raise Terminated


def stopped_by(error: BaseException | None) -> int:
    """Return SIGINT or SIGTERM if an error is due to it, even if a library has raised another one from it, else 0."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return 0 if error is None else signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT


def is_rank_of_tool() -> bool:
    """Return whether a tool has started this process as one of its ranks, and still runs."""
    return os.environ.get(STARTED_BY) == str(os.getppid())


def end_with_parent() -> None:
    """End this process soon after its parent, even if the parent is killed; initializer of process pools.

    The parent reacts to Ctrl-C, which reaches both.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def silence_worker(_: int) -> None:
    """Let a data-loader worker print nothing, as an initializer of workers: its errors are raised in the main process.

    What remains are those of a helper thread when the main process is stopped.
    """
    sys.excepthook = lambda *_: None


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(INTERVAL)
    os._exit(1)


def end_group_with_this_process(group: int) -> subprocess.Popen:
    """Start a watcher that kills a process group when this process has ended; kill the watcher to stop it."""
    loop = f"while kill -0 {os.getpid()}; do sleep {INTERVAL}; done; kill -9 -{group}"
    return subprocess.Popen(["sh", "-c", loop], stderr=subprocess.DEVNULL, start_new_session=True)
