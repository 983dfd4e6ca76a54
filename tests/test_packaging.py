"""A wheel holds what mim needs, where mim looks for it."""

import subprocess
import sys
import zipfile

import pytest
from helpers.paths import ROOT


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names in a wheel built from what git tracks, as pip records them: sorted."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, tracked.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", out, source], check=True, capture_output=True
    )
    (wheel,) = out.glob("*.whl")
    return sorted(zipfile.ZipFile(wheel).namelist())


def test_configs_tools_and_model_index_lie_in_dot_mim(wheel_names: list[str]) -> None:
    wanted = [*ROOT.glob("configs/**/*.py"), *ROOT.glob("tools/*.py"), ROOT / "model-index.yml"]
    assert {f"mmtl/.mim/{path.relative_to(ROOT).as_posix()}" for path in wanted} <= set(wheel_names)


def test_mim_run_finds_every_tool(wheel_names: list[str]) -> None:
    # mim 0.5 takes the folder of the first recorded file for the package.
    folder = wheel_names[0].split("/")[0]
    tools = {path.name for path in ROOT.glob("tools/*.py")}
    assert {f"{folder}/.mim/tools/{name}" for name in tools} <= set(wheel_names)


def test_data_files_of_the_package_are_in_it(wheel_names: list[str]) -> None:
    assert "mmtl/datasets/imagenet_wnids.txt" in wheel_names


def test_no_test_or_benchmark_is_packaged(wheel_names: list[str]) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheel_names} == {"mmtl"}
