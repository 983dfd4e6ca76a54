"""A wheel contains the files that mim reads, where mim looks for them."""

import zipfile

import pytest
from helpers.paths import ROOT
from helpers.wheel import build_wheel


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the names in a wheel built from the tracked files and of its command, sorted as pip records them."""
    wheel = build_wheel(tmp_path_factory.mktemp("wheel"))
    return sorted([*zipfile.ZipFile(wheel).namelist(), "../../../bin/mmtl"])


def test_configs_tools_and_model_index_are_in_dot_mim(wheel_names: list[str]) -> None:
    expected = [*ROOT.glob("configs/**/*.py"), *ROOT.glob("tools/*.py"), ROOT / "model-index.yml"]
    assert {f"mmtl/.mim/{path.relative_to(ROOT).as_posix()}" for path in expected} <= set(wheel_names)


def test_mim_run_finds_every_tool(wheel_names: list[str]) -> None:
    # mim 0.5 takes the folder of the first recorded file as the package.
    folder = wheel_names[0].split("/")[0]
    tools = {path.name for path in ROOT.glob("tools/*.py")}
    assert {f"{folder}/.mim/tools/{name}" for name in tools} <= set(wheel_names)


def test_mim_train_finds_every_config_by_name(wheel_names: list[str]) -> None:
    folder = wheel_names[0].split("/")[0]
    expected = {
        path.relative_to(ROOT).as_posix() for path in ROOT.glob("configs/*/*.py") if "_base_" not in path.parts
    }
    assert {f"{folder}/.mim/{name}" for name in expected} <= set(wheel_names)


def test_the_data_files_of_the_package_are_in_the_wheel(wheel_names: list[str]) -> None:
    assert {"mmtl/utils/imagenet_wnids.txt", "mmtl/demo/report.html"} <= set(wheel_names)


def test_no_test_or_benchmark_is_packaged(wheel_names: list[str]) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheel_names} == {"mmtl", "+mmtl", ".."}
