"""What a tool starts ends with it, and a stopped tool leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers.paths import ROOT

from mmtl.utils.cli import run_tool

POOL = """
import sys, time
from concurrent.futures import ProcessPoolExecutor
from mmtl.utils.processes import end_with_parent
with ProcessPoolExecutor(2, initializer=end_with_parent) as pool:
    futures = [pool.submit(time.sleep, 60) for _ in range(2)]
    time.sleep(1)
    print(*pool._processes, flush=True)
    futures[0].result()
"""
GROUP = """
import subprocess, sys, time
from mmtl.utils.processes import end_group_with_this_process
command = ["sh", "-c", "sleep 60 & echo $!; wait"]
step = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)
end_group_with_this_process(step.pid)
print(step.stdout.readline(), flush=True)
time.sleep(60)
"""


RANKS = """
import os, sys, time
from mmtl.utils.cli import run_tool
def work():
    from mmtl.annotators.launch import start_processes
    if "RANK" not in os.environ:
        return start_processes(2)
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(60)
if __name__ == "__main__":
    run_tool(work)
"""


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("script", [POOL, GROUP], ids=["pool", "group"])
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_a_killed_parent(script, kind):
    """Guards: ``import --jobs N`` and the demo left their processes behind."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    children = [int(word) for word in process.stdout.readline().split()]
    assert children and all(map(is_running, children))
    process.send_signal(kind)
    process.wait(30)
    for _ in range(100):
        if not any(map(is_running, children)):
            break
        time.sleep(0.1)
    assert not any(map(is_running, children))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ranks_end_with_the_killed_tool_that_started_them(tmp_path):
    """Guards: ranks that were still importing, and those of training, outlived a killed launcher."""
    (tmp_path / "tool.py").write_text(RANKS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("RANK", None)
    tool = subprocess.Popen([sys.executable, str(tmp_path / "tool.py")], stdout=subprocess.PIPE, env=environment)
    printed = b""
    while printed.count(b"\n") < 2:
        printed += os.read(tool.stdout.fileno(), 100)
    ranks = [int(word) for word in printed.split()]
    assert all(map(is_running, ranks))
    tool.kill()
    tool.wait(30)
    for _ in range(100):
        if not any(map(is_running, ranks)):
            break
        time.sleep(0.1)
    assert not any(map(is_running, ranks))


STOPPED = """
import os, signal, sys
from pathlib import Path
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.cli import run_tool
def main():
    with atomic_file(sys.argv[1]) as part:
        part.write_bytes(b"half")
        os.kill(os.getpid(), int(sys.argv[2]))
        signal.pause()
run_tool(main)
"""


@pytest.mark.parametrize(("kind", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_tool_ends_with_one_line_and_leaves_no_file(tmp_path, kind, code):
    """Guards: Ctrl-C printed a traceback, and SIGTERM left temporary files."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", STOPPED, str(tmp_path / "out.csv"), str(int(kind))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == code and len(done.stderr.splitlines()) == 1 and "stopped" in done.stderr
    assert not list(tmp_path.iterdir())


# Of every tool that imports more than the standard library; the arguments are read before that.
ARGUMENTS = {
    "browse_samples": "a.py",
    "check_segmentation_data": "a.py",
    "config": "a.py -o b.py",
    "convert_checkpoint": "a.pth b.pth",
    "demo": "--report",
    "export_onnx": "a.py a.onnx",
    "make_demo_data": "out",
    "make_score_maps": "a.py a.pth images out",
    "predict": "a.py a.pth images -o a.csv",
    "score_maps": "info store",
    "segment": "a.py a.pth images -o out",
    "test": "a.py a.pth",
    "train": "a.py",
}


@pytest.mark.parametrize(("kind", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("tool", ARGUMENTS)
def test_a_tool_that_is_stopped_during_its_imports_ends_with_one_line(tmp_path, tool, kind, code):
    """Guards: the first seconds of every tool, in which it imports torch, ended with a traceback."""
    (tmp_path / "numpy.py").write_text(f"import os, time; os.kill(os.getpid(), {int(kind)}); time.sleep(60)")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *ARGUMENTS[tool].split()]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == code and done.stderr.startswith(f"{tool}: stopped. ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("masking", [ImportError("numpy"), RuntimeError("__set_name__")])
def test_a_stop_that_a_library_reports_as_another_error_is_a_stop(masking, capsys):
    def main() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise masking from error

    with pytest.raises(SystemExit) as end:
        run_tool(main)
    assert end.value.code == 143 and capsys.readouterr().err.count("\n") == 1
