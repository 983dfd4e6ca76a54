"""The tutorial notebook runs from top to bottom, shows figures, and is kept in git without outputs."""

import json
import os
import subprocess
import sys

from helpers.paths import ROOT

NOTEBOOK = ROOT / "docs/tutorial.ipynb"

# Run the code cells in a process of their own, as Jupyter does, and commands, which Jupyter gives to the shell, in it.
RUN = r"""
import json, re, shlex, sys
from pathlib import Path
import matplotlib
matplotlib.use("agg")  # no window
import matplotlib.pyplot as plt
from mmtl.cli import main as cli

def run_command(line):
    sys.argv = shlex.split(line)
    try:
        cli.main()
    except SystemExit as end:
        assert not end.code, line

variables, figures = {"run_command": run_command}, 0
for cell in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        exec(re.sub(r"(?m)^!(.*)", r"run_command(f'\1')", "".join(cell["source"])), variables)
        figures += len(plt.get_fignums())
        plt.close("all")
assert figures == 6, figures
losses = variables["curves"]["loss_token"].values
assert losses[-1] < 0.95 * losses[0], losses
assert not Path(variables["folder"].name).exists()
"""


def test_git_keeps_the_notebook_without_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


def test_the_notebook_runs_from_another_folder_and_leaves_nothing_behind(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RUN, str(NOTEBOOK)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list(tmp_path.iterdir())
