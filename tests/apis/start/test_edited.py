"""Edits of a config of `mmtl start` that cannot work end before anything runs."""

import re
from pathlib import Path

import pytest
from helpers.paths import ROOT

from mmtl.apis.project import run_project, train_step, write_steps
from mmtl.apis.start.edited import check_edits, check_project
from mmtl.apis.start.templates import write_config

OWN_DATA = sorted((ROOT / "configs/own_data").glob("*.py"))
TEMPLATES = [path.stem for path in OWN_DATA if "Made by:   mmtl start" in path.read_text()]
SEGMENTATION = "lvvit-nano_upernet_1xb8-1k_owndata-96x96"
STUDENT = "lvvit-nano_1xb32-tokenlabel-60e_owndata-224px"


def edited(folder, line, template=STUDENT):
    """Write a config as `mmtl start` does, with one line of its first block edited or added."""
    config = Path(folder, "2_student.py")
    write_config(template, config, {})
    name = line.partition(" ")[0]
    text, count = re.subn(rf"^{name} = .*$", line, config.read_text(), count=1, flags=re.MULTILINE)
    config.write_text(text if count else text.replace("\ntrain_images", f"\n{line}\ntrain_images", 1))
    return config


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_pass(tmp_path, template):
    assert check_edits(edited(tmp_path, "batch_size = 3", template)) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("epochs = 0", "a whole number of at least 1, got 0"),
        ('epochs = "10"', "a whole number of at least 1, got '10'"),
        ("epochs = 10.5", "a whole number of at least 1, got 10.5"),
        ("batch_size = -1", "a whole number of at least 1, got -1"),
        ("batch_size = True", "a whole number of at least 1, got True"),
        ("num_workers = -1", "a whole number of at least 0, got -1"),
        ("mixtoken = 1.5", "None or a share of batches, 0 to 1, got 1.5"),
        ('max_lr = "0.001"', "a number above 0, got '0.001'"),
        ("max_lr = -0.1", "a number above 0, got -0.1"),
        ('classes = ("cats")', "a list of different names in quotes, got 'cats'"),
        ('classes = ("a", "b", "b")', "a list of different names in quotes, got ('a', 'b', 'b')"),
    ],
)
def test_a_value_of_another_kind_is_an_error_that_names_it(tmp_path, line, expected):
    name = line.partition(" ")[0]
    with pytest.raises(ValueError, match=re.escape(f"2_student.py: {name} must be {expected}. ")):
        check_edits(edited(tmp_path, line))


@pytest.mark.parametrize(
    "line",
    [
        "epochs = 2 * 5",
        "num_workers = 0",
        "max_lr = 1",
        'score_maps = None  # "class labels only"',
        'classes = ["a", "b"]',
        "mixtoken = 0.5",
        "weights = 'a.pth'",
        "find_unused_parameters = True",
    ],
)
def test_values_that_work_pass(tmp_path, line):
    assert check_edits(edited(tmp_path, line)) == []


def test_a_name_that_nothing_reads_is_a_warning(tmp_path):
    (warning,) = check_edits(edited(tmp_path, "max_rate = 0.01"))
    assert warning.endswith("2_student.py: max_rate=0.01 changes nothing. Did you mean max_lr?")
    (warning,) = check_edits(edited(tmp_path, "zzz = 1"))
    assert warning.endswith("zzz=1 changes nothing.")


def test_other_configs_are_not_checked(tmp_path):
    config = tmp_path / "own.py"
    config.write_text("epochs = 0\n")
    assert check_edits(config) == check_edits(tmp_path / "absent.py") == []


def test_a_broken_file_is_left_to_the_reader_of_configs(tmp_path):
    assert check_edits(edited(tmp_path, "epochs = (")) == []


def test_an_edit_that_cannot_work_leaves_earlier_results_in_place(tmp_path, monkeypatch):
    """Guards: they were set aside before the training refused the value."""
    monkeypatch.chdir(tmp_path)
    run = Path("work/student")
    run.mkdir(parents=True)
    write_steps(Path(), Path("work"), [train_step("student", "Train", edited("", "epochs = 0"), run)], [])
    with pytest.raises(ValueError, match="epochs must be"):
        run_project(Path())
    assert [path.name for path in Path("work").iterdir()] == ["student"]


@pytest.mark.parametrize("line", ["scale = 120", "crop_size = 96", "crop_size = (96, 0)", "scale = (160, 120, 3)"])
def test_sizes_are_two_whole_numbers(tmp_path, line):
    with pytest.raises(ValueError, match=r"(scale|crop_size) must be 2 whole numbers of at least 1, got "):
        check_edits(edited(tmp_path, line, SEGMENTATION))
    assert check_edits(edited(tmp_path, "crop_size = [96, 64]", SEGMENTATION)) == []


@pytest.mark.parametrize("line", ["patch_size = 5", "img_size = 30"])
def test_patches_divide_the_image(tmp_path, line):
    with pytest.raises(ValueError, match="patch_size must divide img_size = "):
        check_edits(edited(tmp_path, line))


def test_steps_have_the_same_classes_and_read_what_they_make(tmp_path):
    """Guards: the student failed after the teacher had been trained, or learned other names than its labels'."""
    teacher = edited(tmp_path / "a", "batch_size = 3", "resnet-small_1xb32-30e_owndata")
    store = Path("work_dirs/my_images/score_maps")
    assert check_project([teacher, edited(tmp_path, "batch_size = 3")], [store]) == []
    with pytest.raises(
        ValueError, match="score_maps must be a store that exists or that a step makes, got 'elsewhere'"
    ):
        check_project([teacher, edited(tmp_path, "score_maps = 'elsewhere'")], [store])
    assert check_project([edited(tmp_path, f"score_maps = {str(tmp_path)!r}")], [store]) == []
    with pytest.raises(ValueError, match=r"2_student.py: classes must be those of .*, got \('b', 'a'\)"):
        check_project([teacher, edited(tmp_path, "classes = ('b', 'a')")], [store])
