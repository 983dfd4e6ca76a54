"""The command ``mmtl``: one module per command, help without slow imports, errors in one line."""

import subprocess
import sys

import pytest
from helpers.paths import ROOT

from mmtl.cli import main as cli


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/mmtl", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


@pytest.mark.parametrize(
    ("variable", "advice"),
    [("MMTL_IS_STEP", "has started this step again"), ("OTHER", "Add --resume")],
)
def test_a_stopped_training_names_the_command_that_continues_it(monkeypatch, capsys, variable, advice):
    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr("mmtl.cli.train.main", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(monkeypatch, "train", "a.py") == 130
    assert advice in capsys.readouterr().err


def test_a_stopped_restart_does_not_advise_to_restart_again(monkeypatch, capsys, tmp_path):
    """Guards: the advised command removed the finished steps."""
    monkeypatch.setattr("mmtl.cli.train.main", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(monkeypatch, "train", tmp_path, "--restart") == 130
    assert "Run the command without --restart to continue." in capsys.readouterr().err


def test_commands_modules_and_tools_are_the_same():
    modules = {path.stem for path in (ROOT / "mmtl/cli").glob("*.py")} - {"__init__", "main"}
    assert sorted(cli.NAMES) == sorted(modules) == sorted(path.stem for path in (ROOT / "tools").glob("*.py"))
    for path in (ROOT / "tools").glob("*.py"):
        assert f'run_command("{path.stem}")' in path.read_text()


def test_help_shows_every_command_with_its_first_line(monkeypatch, capsys):
    assert not run(monkeypatch, "-h")
    text = capsys.readouterr().out
    for name in cli.NAMES:
        assert f"  {name:24}{cli.summary(name)}" in text


@pytest.mark.parametrize("name", cli.NAMES)
def test_every_command_has_its_own_help(monkeypatch, capsys, name):
    assert not run(monkeypatch, name, "-h")
    text = capsys.readouterr().out
    assert text.startswith(f"usage: mmtl {name} ") and "--traceback" in text and f"mmtl {name}" in text[20:]


@pytest.mark.parametrize("name", ["train", "test"])
def test_only_the_help_that_mim_does_not_read_names_the_number_of_gpus(monkeypatch, capsys, name):
    """Guards: mim adds options that the upstream scripts refuse if it finds --gpus in the help."""
    run(monkeypatch, name, "-h")
    assert "--gpus 0` runs on the CPU" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [f"tools/{name}.py", "-h"])
    with pytest.raises(SystemExit):
        cli.run_command(name)
    assert "--gpus" not in capsys.readouterr().out


def test_help_store_and_mask_commands_import_neither_torch_nor_openmmlab_models():
    code = (
        "import sys; from mmtl.cli import main as m; m.help_text()\n"
        "for name in m.NAMES: m.import_module(f'mmtl.cli.{name}')\n"
        "import mmtl.apis.convert_masks, mmtl.apis.score_maps\n"
        "slow = {'torch', "
        "'torchvision', 'mmcv', 'mmengine', 'mmpretrain', 'mmseg', 'matplotlib', 'timm'} & set(sys.modules)\n"
        "sys.exit(' '.join(slow) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_an_unknown_command_is_one_line_with_the_closest_one(monkeypatch, capsys):
    assert run(monkeypatch, "pedict") == 2
    assert capsys.readouterr().err == "mmtl: 'pedict' is not a command. Did you mean predict?\n"


def test_errors_are_one_line_unless_the_traceback_is_asked_for(monkeypatch, capsys):
    assert run(monkeypatch, "train", "absent.py") == 1
    error = capsys.readouterr().err
    assert error.startswith("mmtl train: absent.py: no such file") and len(error.splitlines()) == 1
    for arguments in (("--traceback", "train", "absent.py"), ("train", "absent.py", "--traceback")):
        monkeypatch.setattr(sys, "argv", ["mmtl", *arguments])
        with pytest.raises(FileNotFoundError):
            cli.main()


def test_a_bug_is_one_line_with_its_type(monkeypatch, capsys):
    from mmtl.cli import list as command

    monkeypatch.setattr(command, "main", lambda *_: {}["missing"])
    assert run(monkeypatch, "list") == 1
    assert capsys.readouterr().err == "mmtl list: KeyError: missing (--traceback shows where)\n"


def test_list_finds_configs_by_words_and_config_copies_one_complete(monkeypatch, capsys, tmp_path):
    from mmengine.config import Config

    assert not run(monkeypatch, "list", "lvvit-nano", "tokenlabel-6e")
    folder, name = capsys.readouterr().out.split()
    assert (folder, name) == ("demo/", "lvvit-nano_1xb32-tokenlabel-6e_demo")
    assert run(monkeypatch, "list", "no-such-config") == 1
    copy = tmp_path / "new" / "copy.py"
    assert not run(monkeypatch, "config", name, "-o", copy, "--cfg-options", "train_dataloader.batch_size=3")
    copied, original = Config.fromfile(copy), Config.fromfile(ROOT / f"configs/demo/{name}.py")
    assert "_base_" not in copied and copied.train_dataloader.pop("batch_size") == 3
    original.train_dataloader.pop("batch_size")
    assert copied.model == original.model and copied.train_dataloader == original.train_dataloader
    # Guards: variables that the copy does not use stayed in it, and changing them changed nothing.
    assert {*original} - {*copied} and not {"batch_size", "num_classes", "data_root", "channels"} & {*copied}
    capsys.readouterr()
    assert run(monkeypatch, "config", name, "-o", copy) == 1 and "exists" in capsys.readouterr().err
    assert not run(monkeypatch, "config", name, "-o", copy, "--force")
