"""The script for a GPU that is lent for minutes: no benchmark stops the others or takes their time."""

import os
import re
import subprocess

from helpers.paths import ROOT

PYTHON = """#!/usr/bin/env bash
case "$*" in
    *--jpeg*) echo no memory >&2; exit 1 ;;
    *--archs*) exec sleep 60 ;;
esac
echo "$@"
"""


def test_a_benchmark_that_fails_is_reported_and_one_that_hangs_leaves_the_others_to_be_skipped_in_time(tmp_path):
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    env = dict(os.environ, PYTHON=str(python), OUT=str(tmp_path / "out"), LIMIT="2")
    command = ["bash", str(ROOT / "benchmarks/gpu.sh")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=True)
    _, *pieces = re.split("^## ", done.stdout, flags=re.MULTILINE)
    of_name = {name: text for name, _, text in (piece.partition("\n") for piece in pieces)}
    assert len(of_name) == 9
    assert "no memory" in of_name["S, compiled, from JPEGs"]
    assert "failed or out of time" in of_name["Segmentation S, eager"]
    assert "--device cuda" in of_name["S, eager, ready samples"]
    assert "skipped" in of_name["L, compiled"] and "skipped" in of_name["Operations that wait for the device"]
