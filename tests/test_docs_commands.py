"""Every command in the code blocks of README and docs works as printed.

All are read by the parsers of their own tools: options, configs, and the keys of ``--cfg-options`` exist. Quick ones
run here on small data. `COVERED` names the test that runs each other tool with a reduced size; ``make docs-commands``
runs the commands themselves, by the table in `helpers.documented_runs`.
"""

import ast
import re
import shutil
from importlib import import_module

import pytest
from helpers.documented_commands import (
    PAGES,
    check,
    code_blocks,
    commands_of,
    documented_commands,
    tool_words,
)
from helpers.documented_data import KEYS, write_annotations, write_image, write_store
from helpers.documented_runs import LONG, NOT_RUN, is_quick
from helpers.paths import ROOT

from mmtl.cli.main import NAMES
from mmtl.utils.cli import tool_parser

COMMANDS = documented_commands()
# Tool -> a test that runs it: other data, sizes and lengths than the pages'.
COVERED = {
    "start": "apis/start/test_start.py",
    "train": "apis/test_hand_over.py",
    "test": "apis/test_hand_over.py",
    "predict": "apis/test_predict.py",
    "segment": "apis/test_segment.py",
    "corruption_error": "apis/test_corruption_error.py",
    "make_score_maps": "apis/test_score_maps_tools.py",
    "browse_samples": "apis/test_browse_samples.py",
    "check_segmentation_data": "apis/test_commands.py",
    "convert_checkpoint": "apis/test_convert_checkpoint.py",
    "export_onnx": "apis/test_export_onnx.py",
    "demo": "demo/test_demo.py",
    "make_demo_data": "demo/test_demo_data.py",
    "score_maps": "apis/test_score_maps_tools.py",  # those that need an annotator or an archive
}


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_tools_options_configs_and_keys_of_a_command_exist(command):
    check(command)


@pytest.mark.parametrize(
    "line",
    [
        "mmtl pedict CONFIG CHECKPOINT IMAGES -o a.csv",
        "mmtl predict CONFIG CHECKPOINT IMAGES -o a.csv --to-k 3",
        "mmtl predict CONFIG CHECKPOINT -o a.csv",
        "mmtl score_maps show STORE",
        "mmtl score_maps shwo STORE KEY",
        "mmtl make_score_maps CONFIG CHECKPOINT IMAGES OUT --amp bfloat",
        "mmtl train configs/lvvit/absent.py",
        "mmtl train CONFIG --auto-scale-lrs",
        "mmtl train CONFIG --cfg-options model.head.betta=1",
        "mmtl train CONFIG --cfg-options modle.head.beta=1",
        "mmtl train CONFIG --cfg-options train_cfg.max_epoch=1",
        "mmtl train CONFIG --cfg-options optim_wrapper.acumulative_counts=1",
        "mmtl test CONFIG CHECKPOINT --ttaa",
        "mim train mmpretrain CONFIG --launcher slrm",
        "mim test mmsegmentation CONFIG --checkpoint CHECKPOINT --show_dirs A",
        "srun mmtl make_score_maps CONFIG CHECKPOINT IMAGES OUT --launchr slurm",
        "docker run --rm mmtl mmtl trian CONFIG",
        "torchrun --nproc-per-nod 8 $TRAIN CONFIG --launcher pytorch --auto-scal-lr",
        "make demos",
        "pip install '.[anotator]'",
        "mtl list",
    ],
)
def test_a_misspelled_word_is_found(line):
    (command,) = commands_of(f"```bash\n{line}\n```", "page.md")
    with pytest.raises((ValueError, OSError, SystemExit)):
        check(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_of_commands_in_the_text_exist(page):
    shared = (ROOT / "mmtl/utils/cli.py").read_text()
    for name, rest in re.findall(r"`mmtl ([a-z]\w+)([^`]*)`", page.read_text()):
        assert name in NAMES
        if name in ("train", "test"):  # their options are the scripts'
            continue
        known = {
            "-h",
            "--traceback",
            *re.findall(r"--?[a-z][\w-]*", (ROOT / f"mmtl/cli/{name}.py").read_text() + shared),
        }
        assert set(re.findall(r"(?<!\S)--?[a-z][\w-]*", rest)) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_are_valid_and_import_what_exists(page):
    for block in code_blocks(page.read_text(), "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                assert not [each.name for each in node.names if not hasattr(import_module(node.module), each.name)]


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_is_quick_or_has_one_row_that_runs_it_or_states_why_it_does_not_run(command):
    patterns = [row.pattern for row in LONG] + list(NOT_RUN)
    rows = [pattern for pattern in patterns if re.search(pattern, " ".join(command.words))]
    assert len(rows) + is_quick(command) == 1, rows


def test_every_row_has_a_command():
    texts = [" ".join(command.words) for command in COMMANDS]
    unused = [
        row for row in [each.pattern for each in LONG] + list(NOT_RUN) if not any(re.search(row, x) for x in texts)
    ]
    assert not unused


def test_every_tool_runs_here_or_in_a_test_and_is_on_the_page_of_tools():
    quick = {tool_words(command)[0] for command in COMMANDS if is_quick(command)}
    used = {tool_words(command)[0] for command in COMMANDS if tool_words(command)} & set(NAMES)
    assert used <= quick | set(COVERED) and set(COVERED) <= set(NAMES)
    for name, path in COVERED.items():
        assert name in (ROOT / "tests" / path).read_text(), f"{path} does not run {name}"
    listed = re.findall(r"^\| `mmtl (\w+)` \|", (ROOT / "docs/tools.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(NAMES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with what the quick commands read, under the names of the pages."""
    root = tmp_path_factory.mktemp("docs")
    for store in ("STORE", "OTHER_STORE"):
        write_store(root / store)
    write_image(root / "IMAGES" / KEYS[0])
    write_annotations(root)
    return root


@pytest.mark.parametrize("command", [each for each in COMMANDS if is_quick(each)], ids=str)
def test_a_quick_command_runs(command, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    name, *arguments = tool_words(command)
    if arguments[:1] == ["merge"]:  # made of the parts of `split`, which is above it
        shutil.rmtree("STORE")
    shutil.rmtree("index_masks", ignore_errors=True)
    module = import_module(f"mmtl.cli.{name}")
    assert not module.main(tool_parser(module.__doc__, f"mmtl {name}"), arguments)
    assert capsys.readouterr().out
