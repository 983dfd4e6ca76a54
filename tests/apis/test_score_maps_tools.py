"""The two tools from the command line: what they print, how they fail."""

import os
import runpy
import signal
import subprocess
import sys
import time
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import torch
from helpers.paths import ROOT

from mmtl.datasets.transforms import LoadScoreMap
from mmtl.engine.hooks.check_classes import check_class_order
from mmtl.visualization.score_maps import draw_over

TOOLS = ROOT / "tools"
CONFIG = """
model = dict(
    type="ImageClassifier",
    backbone=dict(type="ResNet_CIFAR", depth=18, stem_channels=4, base_channels=4, out_indices=(1,), num_stages=2,
                  strides=(1, 2), dilations=(1, 1)),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes={classes}, in_channels=8),
)
data_preprocessor = dict(mean=[120.0, 110, 100], std=[60.0, 60, 60], to_rgb=True)
test_dataloader = dict(dataset=dict(type="ImageNet", pipeline=[
    dict(type="LoadImageFromFile"),
    dict(type="ResizeEdge", scale=20, backend="pillow", interpolation="bicubic"),
    dict(type="CenterCrop", crop_size=16),
    dict(type="PackInputs"),
]))
"""


@pytest.fixture
def run(monkeypatch, capfd):
    """Exit code, output and error output of a tool."""

    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(TOOLS / f"{name}.py"), run_name="__main__")
        code = stop.value.code
        if isinstance(code, str):  # as Python does at the end of the process
            print(code, file=sys.stderr)
            code = 1
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def place(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(6):
            cv2.imwrite(str(tmp_path / "images" / name / f"{number}.png"), rng.integers(0, 256, (24, 16, 3), np.uint8))
    (tmp_path / "two.py").write_text(CONFIG.format(classes=2))
    (tmp_path / "three.py").write_text(CONFIG.format(classes=3))
    return tmp_path


def make(place, *more, out="store"):
    return (place / "two.py", "random", place / "images", place / out, "--topk", 2, "--workers", 0, *more)


def test_make_verify_show_stats_export_import_in_turn(place, run):
    code, out, _ = run("make_score_maps", *make(place, "--crops", 2, "--flip", "--amp", "bfloat16"))
    assert code == 0 and "12 score maps of 8 x 8 cells, top 2" in out and "top-1 " in out
    code, out, _ = run("score_maps", "info", place / "store")
    assert code == 0 and "12 maps of 8 x 8" in out and "input_hw: [16, 16]" in out
    assert "interpolation: bicubic" in out and "backend: pillow" in out and "to_rgb: True" in out
    against = ("--against", place / "two.py", "random", "--images", place / "images")
    code, out, _ = run("score_maps", "verify", place / "store", *against)
    assert code == 0 and "12 maps: intact" in out and "12 maps recomputed" in out
    figure = place / "x.png"
    code, _, _ = run("score_maps", "show", place / "store", "ant/0.png", "--images", place / "images", "-o", figure)
    assert code == 0 and cv2.imread(str(figure)).shape[0] > 300
    code, out, _ = run("score_maps", "stats", place / "store")
    assert code == 0 and "top-1 of pooled maps" in out
    code, out, _ = run("score_maps", "export", place / "store", place / "files")
    assert code == 0 and "`import` reads them with --coverage whole" in out
    arguments = ("--num-classes", 2, "--images", place / "images")
    code, out, _ = run("score_maps", "import", place / "files", place / "back", *arguments)
    assert code == 0 and "12 maps imported" in out and "top-1 of pooled maps" in out
    assert "a map covers: center-square" in run("score_maps", "info", place / "back")[1]
    assert run("score_maps", "import", place / "files", place / "own", *arguments, "--coverage", "whole")[0] == 0
    assert "a map covers: whole" in run("score_maps", "info", place / "own")[1]
    for name, height in (("own", 24), ("back", 16)):  # images of 24 x 16 pixels
        show = ("score_maps", "show", place / name, "ant/0.png", "--images", place / "images", "-o", place / "y.png")
        with patch("mmtl.visualization.score_maps.draw_over", wraps=draw_over) as draw:
            assert run(*show, "--force")[0] == 0
        assert draw.call_args.args[1].shape == (height, 16, 3)


def test_a_part_of_the_classes_is_made_and_selected_alike(place, run):
    (place / "classes.txt").write_text("bee\nant\n")
    option = ("--classes", place / "classes.txt")
    assert run("make_score_maps", *make(place, *option, out="part"))[0] == 0
    against = ("--against", place / "two.py", "random", "--images", place / "images")
    code, out, _ = run("score_maps", "verify", place / "part", *against)
    assert code == 0 and "differ 0.00 %" in out
    table = LoadScoreMap(str(place / "part"), num_classes=2).class_table()
    check_class_order("part", table, ["bee", "ant"])  # a dataset of these classes trains, in another order not
    with pytest.raises(ValueError, match="part"):
        check_class_order("part", table, ["ant", "bee"])
    assert run("make_score_maps", *make(place, "--topk", 1))[0] == 0
    code, out, _ = run("score_maps", "select", place / "store", place / "selected", *option)
    assert code == 0 and "12 maps of 2 of 2 classes" in out and "are equal there: 0.00 %" in out
    assert "no log_norm: train with tail='zero_logit'" in out
    assert "log_norm, as" in run("score_maps", "select", place / "part", place / "complete", *option)[1]
    code, out, _ = run("score_maps", "info", place / "selected")
    assert code == 0 and "log_norm: no" in out and "class_indices: 2 of the annotator's classes" in out
    assert run("score_maps", "stats", place / "selected")[0] == run("score_maps", "verify", place / "selected")[0] == 0
    code, _, error = run("score_maps", "verify", place / "selected", *against)
    assert code == 1 and "was made by `select`" in error
    (place / "classes.txt").write_text("cat\n")
    for command in (("score_maps", "select", place / "store", place / "new"), ("make_score_maps", *make(place))):
        code, _, error = run(*command, *option)
        assert code == 1 and "classes.txt, line 1: 'cat' must be" in error and not (place / "new").exists()


def test_stats_report_calibration_and_agreement(place, run):
    run("make_score_maps", *make(place))
    run("make_score_maps", *make(place, "--flip", out="flipped"))
    plot = place / "reliability.png"
    code, out, _ = run("score_maps", "stats", place / "store", "-o", plot, "--against", place / "flipped")
    assert code == 0 and "expected calibration error" in out and "12 maps compared" in out and "distance" in out
    assert cv2.imread(str(plot)).shape[1] > 600
    annotator = ("--against", place / "two.py", "random", "--images", place / "images")
    code, out, _ = run("score_maps", "stats", place / "store", *annotator)
    assert code == 0 and "100.00 % have the same pooled class\ncells of the same top-1 class 100.00 %" in out
    run("make_score_maps", *make(place, "--input-size", 96, out="larger"))
    for size, share in (((), "100.00"), (("--input-size", 64), "")):  # by default that of the store
        code, out, _ = run("score_maps", "stats", place / "larger", *annotator, *size)
        assert code == 0 and f"reads the images at {64 if size else 96} x " in out
        assert ("cells of the same top-1 class 100.00 %" in out) == bool(share)
    (place / "classes.txt").write_text("1\n0\n")
    run("make_score_maps", *make(place, "--classes", place / "classes.txt", out="swapped"))
    run("make_score_maps", place / "three.py", *make(place, out="three")[1:])
    for other, message in {
        "swapped": "class 'ant' has another index",
        "three": "must have 2 classes",
        "images": "no score map store",
        "two.py": "with the images in --images",
    }.items():
        code, _, error = run("score_maps", "stats", place / "store", "--against", place / other)
        assert code == 1 and message in error


def test_one_process_and_two_make_the_same_store_also_in_turns(place, run):
    assert run("make_score_maps", *make(place, "--shard-images", 2))[0] == 0
    command = [sys.executable, str(TOOLS / "make_score_maps.py"), *map(str, make(place, "--shard-images", 2, out="b"))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--launcher", "pytorch", "--processes", "2"], check=True, env=environment)
    ours, theirs = ({path.name: path.read_bytes() for path in (place / name).iterdir()} for name in ("store", "b"))
    assert ours == theirs
    for name in ("manifest.json", "shard-00001.bin", "shard-00004.bin"):
        (place / "b" / name).unlink()
    assert run("make_score_maps", *make(place, "--shard-images", 2, out="b"))[0] == 0
    assert ours == {path.name: path.read_bytes() for path in (place / "b").iterdir()}


def test_split_merge_and_verify_a_corrupt_store(place, run):
    run("make_score_maps", *make(place, "--shard-images", 4))
    assert run("score_maps", "split", place / "store", place / "part", "--parts", 2)[0] == 0
    assert run("score_maps", "merge", place / "part-0", place / "part-1", place / "merged")[0] == 0
    shard = place / "merged" / "shard-00001.bin"
    data = bytearray(shard.read_bytes())
    shard.unlink()  # linked to the other stores' shard
    data[200] ^= 1
    shard.write_bytes(data)
    code, out, _ = run("score_maps", "verify", place / "merged")
    assert code == 1 and "shard-00001.bin" in out
    assert run("score_maps", "verify", place / "part-0", place / "part-1")[0] == 0


def wrong(place, **changes):
    values = {"config": place / "two.py", "checkpoint": "random", "images": place / "images", "out": place / "store"}
    values |= changes
    return [*values.values(), "--topk", 2, "--workers", 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: wrong(p, config=p / "nothing.py"), "nothing.py: no such file"),
        (lambda p: wrong(p, config=write_config(p, "x = 1")), "no model"),
        (lambda p: wrong(p, config=write_config(p, "model = dict(type='Nothing')")), "cannot be built"),
        (lambda p: wrong(p, config=write_config(p, "model = (")), "cannot be read as a config"),
        (lambda p: wrong(p, checkpoint=p / "nothing.pth"), "no such checkpoint"),
        (lambda p: wrong(p, checkpoint=p / "two.py"), "cannot be read as a checkpoint"),
        (lambda p: wrong(p, checkpoint=save_weights(p)), "does not fit"),
        (lambda p: wrong(p, images=p / "nowhere"), "no such image folder"),
        (lambda p: wrong(p, images=make_folder(p / "images" / "cat")), "contains no image"),
        (lambda p: wrong(p, images=break_image(p)), "cannot be decoded"),
        (lambda p: [*wrong(p), "--topk", 3], "got topk=3"),
        (lambda p: [*wrong(p), "--batch-size", 0], "--batch-size must be at least 1, got 0"),
        (lambda p: [*wrong(p), "--input-size", 2, 3, 4], "--input-size"),
        (lambda p: [*wrong(p), "--workers", -1], "--workers must be at least 0, got -1"),
        (lambda p: [*wrong(p), "--max-undecodable", 1.5], "--max-undecodable must be a share from 0 to 1, got 1.5"),
        (lambda p: [*wrong(p), "--max-undecodable", "nan"], "--max-undecodable must be a share from 0 to 1, got nan"),
        (lambda p: [*wrong(p), "--pretrained"], "Weights must be given once"),
        (lambda p: [*wrong(p), "--launcher", "slurm"], "srun"),
        (lambda p: [*wrong(p), "--launcher", "pytorch", "--processes", 0], "--processes must be"),
        (lambda p: wrong(p, out=p), "contains other files"),
        (lambda p: ["timm/no_such_model", "random", p / "images", p / "store"], "timm has no model"),
        # Guards: a timm model without weights annotated with random ones.
        (lambda p: ["timm/resnet18", p / "images", p / "store"], "give --pretrained, a checkpoint, or `random`"),
    ],
)
def test_bad_input_ends_in_one_clear_message_and_leaves_nothing(place, run, monkeypatch, change, message):
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    arguments = change(place)
    code, _, error = run("make_score_maps", *arguments)
    assert code != 0 and message in error and "Traceback" not in error
    assert error.count("make_score_maps: ") == 1 and not (place / "store").exists()


def test_of_several_ranks_that_fail_only_the_first_reports_it(place):
    command = [sys.executable, TOOLS / "make_score_maps.py", *wrong(place), "--topk", 3, "--launcher", "pytorch"]
    done = subprocess.run([*map(str, command), "--processes", "2"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("make_score_maps: ") == 1 and "got topk=3" in done.stderr
    assert "Traceback" not in done.stderr and "torch.distributed" not in done.stderr
    assert not (place / "store").exists()


def save_weights(place):
    torch.save({"state_dict": {"backbone.conv1.weight": torch.zeros(4, 3, 3, 3)}}, place / "w.pth")
    return place / "w.pth"


def write_config(place, text):
    (place / "x.py").write_text(text)
    return place / "x.py"


def make_folder(folder):
    folder.mkdir()
    return folder.parent


def break_image(place):
    (place / "images" / "ant" / "0.png").write_bytes(b"no picture")
    return place / "images"


def test_checkpoints_of_a_training_run_fit_and_name_the_classes(place, run):
    from mmengine.config import Config
    from mmengine.logging import MessageHub
    from mmpretrain.registry import MODELS

    model = MODELS.build(Config.fromfile(place / "two.py").model)
    log = MessageHub.get_instance("test_tools_score_maps")
    log.update_scalar("train/loss", np.float32(0.5))
    meta = {"dataset_meta": {"classes": ("ant", "bee")}}
    torch.save({"state_dict": model.state_dict(), "meta": meta, "message_hub": log.state_dict()}, place / "w.pth")
    code, _, _ = run("make_score_maps", place / "two.py", place / "w.pth", *make(place)[2:])
    assert code == 0
    assert "class_names: 2 names" in run("score_maps", "info", place / "store")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("info", "nowhere"), "no score map store"),
        (("show", "store", "ant/9.png"), "ant/9.png"),
        (("verify", "store", "--against", "x.py", "random"), "--images"),
        (("verify", "store", "--sample", "0"), "--sample must be at least 1, got 0"),
        (("stats", "store", "--sample", "-1"), "--sample must be at least 1, got -1"),
        (("import", "nowhere.tar", "new"), "no such folder or archive"),
        (("import", "nowhere.tar", "new", "--jobs", "0"), "--jobs must be at least 1, got 0"),
        (("import", "nowhere.tar", "new", "--num-classes", "0"), "--num-classes must be at least 1, got 0"),
        (("split", "store", "new", "--parts", "0"), "--parts must be at least 1, got 0"),
        (("export", "nowhere", "new"), "no score map store"),
        (("split", "store", "new", "--parts", "5"), "at most"),
        (("merge", "nowhere", "new"), "no score map store"),
    ],
)
def test_a_mistake_of_the_user_ends_in_one_message(place, run, monkeypatch, arguments, message):
    run("make_score_maps", *make(place))
    monkeypatch.chdir(place)
    code, _, error = run("score_maps", *arguments)
    assert code == 1 and message in error and error.startswith("score_maps: ") and "Traceback" not in error
    assert not (place / "new").exists()


def test_a_store_of_another_annotator_is_detected(place, run):
    run("make_score_maps", *make(place))
    three = ("--against", place / "three.py", "random", "--images", place / "images")
    code, out, error = run("score_maps", "verify", place / "store", *three)
    assert code == 1 and "The weights differ from those" in out and "another annotator" in error


@pytest.mark.skipif(sys.platform != "linux", reason="sends signals")
@pytest.mark.parametrize(("kind", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_annotation_ends_with_one_line_and_leaves_nothing_unfinished(place, kind, code):
    """Guards: SIGTERM left temporary files, and Ctrl-C exit codes and tracebacks of its own."""
    for number in range(6, 900):
        os.link(place / "images" / "ant" / "0.png", place / "images" / "ant" / f"{number}.png")
    arguments = make(place, "--workers", 1, "--batch-size", 1, "--shard-images", 100)
    command = [sys.executable, TOOLS / "make_score_maps.py", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [str(word) for word in command],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored below a background process
    )
    while process.poll() is None and not list((place / "store").glob("shard-*.bin")):
        time.sleep(0.05)
    process.send_signal(kind)
    _, error = process.communicate(timeout=60)
    lines = [line for line in error.splitlines() if "Warning" not in line and "warn" not in line]
    assert process.returncode == code, error
    assert lines[-1].startswith("make_score_maps: stopped") and "Traceback" not in error
    assert all(path.suffix == ".bin" for path in (place / "store").iterdir())


@pytest.mark.parametrize("options", [("--device", "cuda:77"), ("--device", "nonsense")])
def test_a_device_that_does_not_exist_is_one_line(place, run, options):
    code, _, error = run("make_score_maps", *make(place, *options))
    assert code == 1 and error.splitlines()[-1].startswith("make_score_maps: ") and "Traceback" not in error


def test_converting_a_file_onto_itself_needs_force(place, run):
    torch.save({"state_dict": {}}, place / "w.pth")
    before = (place / "w.pth").read_bytes()
    code, _, error = run("convert_checkpoint", place / "w.pth", place / "w.pth")
    assert code == 1 and "is an input and would be replaced" in error
    assert (place / "w.pth").read_bytes() == before
