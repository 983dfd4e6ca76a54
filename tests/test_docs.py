"""The pages build without a warning, show every public name, and mention only files and commands that exist."""

import re
import subprocess
import sys

import pytest
from helpers.paths import ROOT
from mmengine.registry import Registry

import mmtl.datasets.transforms
import mmtl.models
import mmtl.models.token_labels
import mmtl.registry
import mmtl.score_maps

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "docs/tutorial.ipynb"]


def test_pages_build_without_a_warning_and_show_public_names(tmp_path):
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "-d", tmp_path / "cache"]
    built = subprocess.run([*command, ROOT / "docs", tmp_path / "pages"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "pages/api.html").read_text()
    for module in (mmtl.score_maps, mmtl.datasets.transforms, mmtl.models, mmtl.models.token_labels):
        missing = [name for name in module.__all__ if f'id="{module.__name__}.{name}"' not in page]
        assert not missing
    assert 'id="mmtl.datasets.segmentation_datasets.ADE20KDataset"' in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_tools_and_registered_names_on_a_page_exist(page):
    text = page.read_text()
    paths = re.findall(r"(?<![\w./-])((?:mmtl|tests|tools|benchmarks|configs|docs)/[\w./-]*\w/?)(?![\w./{…*-])", text)
    generated = ("mmtl/.mim", "docs/_build")
    assert not [path for path in paths if not (ROOT / path).exists() and not path.startswith(generated)]
    tools = re.findall(r"mim run mmtl ([a-z]\w+)|(?m:(?:^|`)mmtl ([a-z]\w+))", text)
    tools = [name for names in tools for name in names if name]
    assert not [tool for tool in tools if not (ROOT / "tools" / f"{tool}.py").is_file()]
    names = set(re.findall(r"\bmmtl\.([A-Z]\w+)", text))
    registries = [each for each in vars(mmtl.registry).values() if isinstance(each, Registry) and each.scope == "mmtl"]
    assert not [name for name in names if all(registry.get(f"mmtl.{name}") is None for registry in registries)]
