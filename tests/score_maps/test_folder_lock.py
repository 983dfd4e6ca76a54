import os
import signal
import subprocess
import sys

import pytest

from mmtl.score_maps.folder_lock import FolderLock


def test_a_second_run_is_refused_until_the_first_has_ended(tmp_path):
    with FolderLock(tmp_path):
        for shared in (False, True):
            with pytest.raises(FileExistsError, match="Another run is writing"):
                FolderLock(tmp_path, shared=shared)
    FolderLock(tmp_path).release()
    assert not list(tmp_path.iterdir())


def test_ranks_of_one_run_share_the_lock_until_the_last_releases_it(tmp_path):
    first = FolderLock(tmp_path)
    first.share()
    second = FolderLock(tmp_path, shared=True)
    first.release()
    with pytest.raises(FileExistsError):
        FolderLock(tmp_path)
    second.release()
    FolderLock(tmp_path).release()


LOCK_FORK_DIE = """
import os, sys, time
from mmtl.score_maps.folder_lock import FolderLock
lock = FolderLock(sys.argv[1])
child = os.fork()
if child == 0:
    print(os.getpid(), flush=True)
    time.sleep(60)
    os._exit(0)
time.sleep(60)
"""


def test_a_killed_run_holds_no_lock_though_its_forked_workers_live_on(tmp_path):
    command = [sys.executable, "-c", LOCK_FORK_DIE, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        worker = int(process.stdout.readline())
        try:
            with pytest.raises(FileExistsError):
                FolderLock(tmp_path)
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            FolderLock(tmp_path).release()
        finally:
            process.kill()
            os.kill(worker, signal.SIGKILL)
