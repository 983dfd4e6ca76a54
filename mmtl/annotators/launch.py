"""Run work in one process, in ranks that are started here, or as a rank that a launcher started."""

import logging
import os
import signal
import sys
from collections.abc import Callable

import torch

from mmtl.annotators.work_queue import RankFailure, WorkQueue, join_queue
from mmtl.utils.processes import STARTED_BY, Terminated, is_rank_of_tool


def run_on_ranks(work: Callable[[WorkQueue], None], launcher: str, processes: int | None = None) -> int:
    """Do work that ranks share, and return the command's exit code.

    An error is raised only on the rank that fails first; the other ranks stop silently.

    Args:
        work: what every rank does.
        launcher: "none", "pytorch" (starts the processes unless torchrun has) or "slurm" (started by srun).
        processes: number of processes to start; None for one per GPU.
    """
    if launcher == "pytorch" and "RANK" not in os.environ:
        return start_processes(processes)
    queue = join_queue(launcher)
    try:
        work(queue)
    except RankFailure:
        return 1
    except BaseException as error:
        is_first = queue.report_failure(str(error) or "interrupted")
        is_stopped = isinstance(error, KeyboardInterrupt)
        if (is_first or is_stopped) and not (is_stopped and is_rank_of_tool()):  # the tool reports that
            raise
        return 1
    return 0


def start_processes(count: int | None) -> int:
    """Run this command again in several processes, by default one per GPU, as torchrun without its error report."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    count = count or max(1, torch.cuda.device_count())
    os.environ[STARTED_BY] = str(os.getpid())
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        run(parse_args(["--standalone", "--nproc-per-node", str(count), *sys.argv]))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:  # otherwise the rank has reported the error itself
            raise ChildProcessError(f"Rank {rank} was ended by signal {-failure.exitcode}.") from None
        return 1
    except SignalException as error:
        raise (Terminated if error.sigval == signal.SIGTERM else KeyboardInterrupt) from None
    finally:
        del os.environ[STARTED_BY]
    return 0
