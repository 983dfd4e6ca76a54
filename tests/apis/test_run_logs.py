"""What the screen says about a step comes from the files that it writes."""

import json

import pytest

from mmtl.annotators.progress import StoreProgress
from mmtl.apis.run_logs import result_of, store_position, time_left, training_position
from mmtl.score_maps.shard import HEADER_BYTES
from mmtl.utils.processes import IS_STEP

BOX = "text\n+-- name --+\n| data     4 images |\n| steps    120 (40 epochs of 3), OneCycleLR to step 120 |\n+---+\n"


def write_log(run, *lines, text=BOX, start="20260101_000000"):
    folder = run / start / "vis_data"
    folder.mkdir(parents=True)
    (folder / "scalars.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder.parent / f"{start}.log").write_text(text)


def test_the_position_has_the_total_of_the_box_and_the_time_that_is_left(tmp_path):
    assert training_position(tmp_path) == ""
    write_log(tmp_path, {"step": 60, "loss": 2.0, "time": 3.0}, {"step": 60, "accuracy/top1": 9.0, "time": 1.0})
    assert training_position(tmp_path) == "step 60/120, 3 min left, loss 2.000, top-1 9.0 %"
    before = set(tmp_path.glob("*/vis_data/scalars.json"))
    assert training_position(tmp_path, before) == ""
    write_log(tmp_path, {"step": 120, "loss": 1.0, "time": 3.0}, start="20260102_000000")
    assert training_position(tmp_path) == training_position(tmp_path, before) == "step 120, loss 1.000"


def test_without_a_box_the_position_has_no_total(tmp_path):
    write_log(tmp_path, {"step": 5, "loss": 0.5}, text="steps 7\n")
    assert training_position(tmp_path) == "step 5, loss 0.500"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "less than a minute left"), (100, "2 min left"), (3599, "1 h 0 min left"), (90_000, "25 h 0 min left")],
)
def test_time_left(seconds, text):
    assert time_left(seconds) == text


def test_the_result_of_a_step_is_its_last_validation_or_the_size_of_its_store(tmp_path):
    assert result_of(tmp_path) == result_of(tmp_path / "gone") == ""
    write_log(tmp_path / "a", *({"step": step, "accuracy/top1": top1} for step, top1 in ((1, 70.0), (2, 60.0))))
    assert result_of(tmp_path / "a") == "top-1 60.0 % (best 70.0 %)"
    write_log(tmp_path / "b", {"step": 1, "mIoU": 38.84})
    assert result_of(tmp_path / "b") == "mIoU 38.8 %"
    for step, text in ((1, "mIoU 38.8 %, 8 of 11 classes have IoU 0"), (2, "mIoU 40.0 %")):  # of an earlier validation
        lines = {"step": 1, "mIoU": 38.84}, {"step": 1, "classes_with_iou_0": 8, "classes_with_iou": 11}
        write_log(tmp_path / f"c{step}", *lines, *[{"step": 2, "mIoU": 40.0}] * (step - 1))
        assert result_of(tmp_path / f"c{step}") == text
    (tmp_path / "manifest.json").write_text('{"num_maps": 12}')
    assert result_of(tmp_path) == "12 score maps"


def test_the_position_of_a_store_is_the_last_count_of_its_generator(tmp_path, monkeypatch, capsys):
    log = tmp_path / "step.log"
    assert store_position(log) == ""
    progress = StoreProgress(tmp_path, record_bytes=10, num_images=4)
    for is_step, records, printed in (("", 1, ""), ("1", 1, "1/4 images\n"), ("1", 1, ""), ("1", 3, "3/4 images\n")):
        (tmp_path / "shard-00000.bin.part").write_bytes(bytes(HEADER_BYTES + 10 * records))
        monkeypatch.setenv(IS_STEP, is_step) if is_step else monkeypatch.delenv(IS_STEP, raising=False)
        list(progress.get_renderables())
        assert capsys.readouterr().out == printed
        with log.open("a") as file:
            file.write(printed)
    assert store_position(log) == "3/4 images" and store_position(log, log.stat().st_size) == ""
