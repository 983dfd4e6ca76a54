import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.registry import HOOKS

from mmtl.engine.hooks.checkpoint import CheckpointHook, RenamedFileBackend, damage


@pytest.fixture
def run(tmp_path) -> SimpleNamespace:
    """A run that is about to resume, with three whole checkpoints."""
    for epoch in (9, 10, 11):
        torch.save(dict(state_dict=dict(weight=torch.arange(1000.0)), epoch=epoch), tmp_path / f"epoch_{epoch}.pth")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_11.pth"))
    return SimpleNamespace(work_dir=str(tmp_path), _resume=True, _load_from=None, logger=logging.getLogger("run"))


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def resumed_from(run: SimpleNamespace) -> str | None:
    """What mmengine would resume from after the hook has looked at it."""
    CheckpointHook().before_run(run)
    pointer = Path(run.work_dir, "last_checkpoint")
    return Path(pointer.read_text()).name if pointer.exists() else None


def test_a_whole_last_checkpoint_is_taken_silently(run, caplog):
    assert resumed_from(run) == "epoch_11.pth" and not caplog.records


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_checkpoint_cut_anywhere_is_passed_over_aloud(run, caplog, share):
    cut(Path(run.work_dir, "epoch_11.pth"), share)
    assert resumed_from(run) == "epoch_10.pth"
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "epoch_11.pth is not used" in caplog.text and "Falling back" in caplog.text


def test_a_changed_byte_in_the_weights_is_seen(run):
    path = Path(run.work_dir, "epoch_11.pth")
    data = bytearray(path.read_bytes())
    data[data.index(torch.arange(1000.0).numpy().tobytes()) + 100] ^= 1
    path.write_bytes(data)
    assert "damaged" in damage(path)
    assert resumed_from(run) == "epoch_10.pth"


def test_a_missing_one_and_two_cut_ones_are_passed_over_in_order_of_their_number(run):
    Path(run.work_dir, "epoch_11.pth").unlink()
    cut(Path(run.work_dir, "epoch_10.pth"), 0.5)
    assert resumed_from(run) == "epoch_9.pth"


def test_a_later_checkpoint_than_the_named_one_is_of_another_run(run):
    Path(run.work_dir, "last_checkpoint").write_text(str(Path(run.work_dir, "epoch_10.pth")))
    cut(Path(run.work_dir, "epoch_10.pth"), 0.5)
    assert resumed_from(run) == "epoch_9.pth"


def test_an_emptied_name_is_no_obstacle(run):
    Path(run.work_dir, "last_checkpoint").write_text("")
    assert resumed_from(run) == "epoch_11.pth"


def test_without_a_whole_checkpoint_training_begins_anew_and_says_so(run, caplog):
    for path in Path(run.work_dir).glob("*.pth"):
        cut(path, 0.5)
    assert resumed_from(run) is None
    assert "from the beginning" in caplog.records[-1].message


def test_a_damaged_checkpoint_that_is_named_by_the_user_stops_the_run(run):
    run._load_from = str(Path(run.work_dir, "epoch_11.pth"))
    CheckpointHook().before_run(run)
    cut(Path(run._load_from), 0.5)
    with pytest.raises(ValueError, match="cannot resume from .*epoch_11.pth: it is missing or cut short"):
        CheckpointHook().before_run(run)


def test_a_file_bears_its_name_only_when_it_is_whole(tmp_path, monkeypatch):
    target = tmp_path / "epoch_1.pth"
    backend = get_file_backend(str(target), backend_args=CheckpointHook().backend_args)
    assert isinstance(backend, RenamedFileBackend)
    backend.put(b"old", target)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        backend.put(b"new", target)
    assert target.read_bytes() == b"old"


def test_a_full_disk_keeps_no_part_of_a_file(tmp_path, monkeypatch):
    (tmp_path / "epoch_1.pth").write_bytes(b"before")

    def fail_half_way(self, obj, filepath):
        Path(filepath).write_bytes(obj[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalBackend, "put", fail_half_way)
    with pytest.raises(OSError, match="No space left"):
        RenamedFileBackend().put(b"whole", tmp_path / "epoch_1.pth")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_one_kept_checkpoint_is_refused():
    with pytest.raises(ValueError, match="max_keep_ckpts to 2 or more"):
        HOOKS.build(dict(type="mmtl.CheckpointHook", max_keep_ckpts=1))
