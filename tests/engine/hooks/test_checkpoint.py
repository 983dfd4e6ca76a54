import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.registry import HOOKS

from mmtl.engine.hooks.checkpoint import AtomicFileBackend, CheckpointHook
from mmtl.utils.checkpoint import file_problem


@pytest.fixture
def run(tmp_path) -> SimpleNamespace:
    """A run that is about to resume, with three intact checkpoints."""
    for epoch in (9, 10, 11):
        torch.save(dict(state_dict=dict(weight=torch.arange(1000.0)), epoch=epoch), tmp_path / f"epoch_{epoch}.pth")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_11.pth"))
    return SimpleNamespace(work_dir=str(tmp_path), _resume=True, _load_from=None, logger=logging.getLogger("run"))


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def resumed_from(run: SimpleNamespace) -> str | None:
    """Return the name of the checkpoint that mmengine would resume from after the hook has run."""
    files = {path: path.read_bytes() for path in Path(run.work_dir).rglob("*") if path.is_file()}
    CheckpointHook().before_run(run)
    assert files == {path: path.read_bytes() for path in files}, "nothing is removed or changed"
    assert run._resume == bool(run._load_from)
    return Path(run._load_from).name if run._load_from else None


def test_an_intact_last_checkpoint_is_used_without_a_warning(run, caplog):
    assert resumed_from(run) == "epoch_11.pth" and not caplog.records


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_checkpoint_truncated_anywhere_is_skipped_with_a_warning(run, caplog, share):
    cut(Path(run.work_dir, "epoch_11.pth"), share)
    assert resumed_from(run) == "epoch_10.pth"
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "epoch_11.pth is not used" in caplog.text and "Falling back" in caplog.text


def test_a_changed_byte_in_the_weights_is_detected(run):
    path = Path(run.work_dir, "epoch_11.pth")
    data = bytearray(path.read_bytes())
    data[data.index(torch.arange(1000.0).numpy().tobytes()) + 100] ^= 1
    path.write_bytes(data)
    assert "corrupt" in file_problem(path)
    assert resumed_from(run) == "epoch_10.pth"


def test_missing_and_truncated_ones_are_skipped_in_order_of_their_number(run):
    Path(run.work_dir, "epoch_11.pth").unlink()
    cut(Path(run.work_dir, "epoch_10.pth"), 0.5)
    assert resumed_from(run) == "epoch_9.pth"


def test_a_later_checkpoint_than_the_named_one_is_not_used(run):
    Path(run.work_dir, "last_checkpoint").write_text(str(Path(run.work_dir, "epoch_10.pth")))
    cut(Path(run.work_dir, "epoch_10.pth"), 0.5)
    assert resumed_from(run) == "epoch_9.pth"


@pytest.mark.parametrize("rotated", [False, True])
def test_a_copied_work_directory_resumes_from_its_own_checkpoints(run, tmp_path, caplog, rotated):
    """Guards: ``last_checkpoint`` of a copy names the other run, whose file is another one or is rotated away."""
    copy = shutil.copytree(run.work_dir, tmp_path / "copy")
    if rotated:
        Path(run.work_dir, "epoch_11.pth").unlink()
    run.work_dir = str(copy)
    assert resumed_from(run) == "epoch_11.pth" and Path(run._load_from).parent == copy


def test_another_run_is_a_fallback_that_is_named(run, tmp_path, caplog):
    other = Path(run.work_dir, "epoch_11.pth")
    run.work_dir = str(tmp_path / "copy")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "last_checkpoint").write_text(str(other))
    resumed_from(run)
    assert run._load_from == str(other) and f"falling back to {other} of another run" in caplog.text


def test_later_checkpoints_are_used_before_training_starts_over(run):
    Path(run.work_dir, "last_checkpoint").write_text(str(Path(run.work_dir, "epoch_7.pth")))
    assert resumed_from(run) == "epoch_11.pth"


def test_an_empty_pointer_file_is_ignored(run):
    Path(run.work_dir, "last_checkpoint").write_text("")
    assert resumed_from(run) == "epoch_11.pth"


def test_without_an_intact_checkpoint_training_starts_over_with_a_warning(run, caplog):
    for path in Path(run.work_dir).glob("*.pth"):
        cut(path, 0.5)
    assert resumed_from(run) is None
    assert "from the beginning" in caplog.records[-1].message


def test_resuming_from_a_truncated_checkpoint_by_its_path_is_an_error(run):
    run._load_from = str(Path(run.work_dir, "epoch_11.pth"))
    CheckpointHook().before_run(run)
    cut(Path(run._load_from), 0.5)
    with pytest.raises(ValueError, match="Cannot resume from .*epoch_11.pth: it is missing or truncated"):
        CheckpointHook().before_run(run)


def test_an_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "epoch_1.pth"
    backend = get_file_backend(str(target), backend_args=CheckpointHook().backend_args)
    assert isinstance(backend, AtomicFileBackend)
    backend.put(b"old", target)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        backend.put(b"new", target)
    assert target.read_bytes() == b"old"


def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    (tmp_path / "epoch_1.pth").write_bytes(b"before")

    def fail_half_way(self, obj, filepath):
        Path(filepath).write_bytes(obj[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalBackend, "put", fail_half_way)
    with pytest.raises(OSError, match="No space left"):
        AtomicFileBackend().put(b"whole", tmp_path / "epoch_1.pth")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_keeping_a_single_checkpoint_is_an_error():
    with pytest.raises(ValueError, match="max_keep_ckpts .* must be 2 or more"):
        HOOKS.build(dict(type="mmtl.CheckpointHook", max_keep_ckpts=1))


def test_a_metric_that_the_validation_does_not_give_is_a_warning_not_an_error(run, caplog):
    hook = CheckpointHook(save_best="accuracy/top1")
    hook._save_best_checkpoint(run, {"accuracy/top5": 80.0})
    assert "one of ['accuracy/top5'], got ['accuracy/top1']" in caplog.text
    CheckpointHook()._save_best_checkpoint(run, {})  # without save_best
