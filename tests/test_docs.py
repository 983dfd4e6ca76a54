"""The pages build: every link between them leads somewhere, and every class and function can be shown."""

import subprocess
import sys

from helpers.paths import ROOT

import mmtl.datasets.transforms
import mmtl.models
import mmtl.score_maps


def test_pages_build_without_a_warning_and_show_what_is_public(tmp_path):
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "-d", tmp_path / "cache"]
    built = subprocess.run([*command, ROOT / "docs", tmp_path / "pages"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "pages/api.html").read_text()
    for module in (mmtl.score_maps, mmtl.datasets.transforms, mmtl.models):
        hidden = [name for name in module.__all__ if f'id="{module.__name__}.{name}"' not in page]
        assert not hidden
    assert 'id="mmtl.datasets.segmentation_datasets.ADE20KDataset"' in page
