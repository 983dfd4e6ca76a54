"""The tutorial notebook runs from top to bottom, shows figures, and is kept in git without outputs."""

import json
import re
import shlex
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from helpers.paths import ROOT

from mmtl.cli import main as cli

CELLS = json.loads((ROOT / "docs/tutorial.ipynb").read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def test_git_keeps_the_notebook_without_outputs():
    assert not [cell for cell in CELLS if cell.get("outputs") or cell.get("execution_count")]


def test_the_notebook_runs_from_another_folder_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")  # no window

    def run_command(line: str) -> None:
        """Run what Jupyter gives to the shell in this process, which has imported PyTorch already."""
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code, line

    variables, figures = {"run_command": run_command}, 0
    for source in CODE:
        exec(re.sub(r"(?m)^!(.*)", r"run_command(f'\1')", source), variables)
        figures += len(plt.get_fignums())
        plt.close("all")
    assert figures == 6
    losses = variables["curves"]["loss_token"].values
    assert losses[-1] < 0.95 * losses[0]
    assert not list(tmp_path.iterdir()) and not Path(variables["folder"].name).exists()
