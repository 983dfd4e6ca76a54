"""A tool that is killed at any of its file operations, and run again, ends with the bytes of an uninterrupted run.

At most twelve operations of each tool are tried, or all of them with the environment variable MMTL_ALL_KILL_POINTS=1.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import tiny_segmentation
from helpers.score_map_makers import tiny_annotator, write_images, write_store
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from mmtl.annotators.generate import Options
from mmtl.annotators.make_store import make_store, prepare_job
from mmtl.annotators.work_queue import LocalQueue
from mmtl.apis import corruption_error, hand_over, segment
from mmtl.apis.check_segmentation import check_segmentation
from mmtl.apis.convert import convert_file
from mmtl.apis.convert_masks import convert_masks
from mmtl.apis.copy_config import copy_config
from mmtl.apis.export_onnx import write_onnx
from mmtl.apis.onnx_graph import GraphOptions
from mmtl.apis.predict import predict
from mmtl.apis.project import write_steps
from mmtl.apis.run_steps import Step, run_steps
from mmtl.apis.start.start import Wishes, start
from mmtl.demo.dataset import Settings, make_demo_data
from mmtl.demo.report import write_report
from mmtl.engine.hooks import worst_images
from mmtl.score_maps import ScoreMapStore, archive
from mmtl.score_maps.archive import ImageKeys, export_archive, import_archive
from mmtl.score_maps.class_subset import ClassSubset
from mmtl.score_maps.select import select_store
from mmtl.score_maps.transfer import merge_stores, split_store
from mmtl.utils.download import cached_download
from mmtl.utils.tensor_bytes import tensor_from_bytes, tensor_to_bytes
from mmtl.visualization.figures import save_figure

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")


def run_in_child(run: Callable[[], object], root: Path, kill_at: int | None, operations: Path) -> int:
    """Run a function in a forked process that kills itself before an operation below ``root``; return its status.

    The number of operations is the size of a file.
    """
    if pid := os.fork():
        return os.waitpid(pid, 0)[1]
    count = 0
    counter = os.open(operations, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def watch(event: str, arguments: tuple) -> None:
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in CHANGES) and isinstance(arguments[0], str | bytes | os.PathLike):
            if os.fsdecode(arguments[0]).startswith(str(root)):
                if count == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                os.write(counter, b".")
                count += 1

    try:
        torch.set_num_threads(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.addaudithook(watch)
        run()
        os._exit(0)
    except BaseException as error:  # noqa: B036 - the child must not run the other tests
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)


def tree(root: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


def check_every_kill_point(make: Callable[[Path], object], tmp_path: Path) -> int:
    """Check a tool that writes below the folder that it is given; return the number of kill points."""
    assert run_in_child(partial(make, tmp_path / "whole"), tmp_path / "whole", None, tmp_path / "operations") == 0
    expected, points = tree(tmp_path / "whole"), (tmp_path / "operations").stat().st_size
    at_most = points if "MMTL_ALL_KILL_POINTS" in os.environ else 12
    for point in sorted(set(np.linspace(0, points - 1, min(points, at_most)).astype(int).tolist())):
        out = tmp_path / "killed"
        shutil.rmtree(out, ignore_errors=True)
        assert run_in_child(partial(make, out), out, point, tmp_path / "operations") == signal.SIGKILL
        assert run_in_child(partial(make, out), out, None, tmp_path / "operations") == 0, f"after point {point}"
        left = tree(out)
        assert left.keys() == expected.keys(), f"point {point}: {left.keys() ^ expected.keys()}"
        assert left == expected, f"point {point}"
    print(f"{points} kill points")
    return points


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("inputs")
    write_images(root / "images", 3)
    write_store(root / "a", 7, shard_bytes=400, log_norm=False)
    write_store(root / "b", 5, shard_bytes=400, log_norm=False, prefix="b", seed=1)
    export_archive(ScoreMapStore(root / "a"), root / "files", write_tensor=tensor_to_bytes)
    split_store(root / "a", root / "part", 2)
    return root


def test_make_score_maps(inputs, tmp_path):
    options = Options(topk=2, batch_size=3, workers=0, shard_images=4)
    annotator = tiny_annotator()

    def make(out: Path) -> None:
        make_store(prepare_job(annotator, inputs / "images", out, options), LocalQueue())

    assert check_every_kill_point(make, tmp_path) > 10


def test_import(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "ENTRIES_PER_CHUNK", 2)
    options = dict(read_tensor=tensor_from_bytes, key_of=ImageKeys(None, ".png"), shard_bytes=300)
    assert check_every_kill_point(lambda out: import_archive(inputs / "files", out, 10, **options), tmp_path) > 10


def test_export(inputs, tmp_path):
    def make(out: Path) -> None:
        export_archive(ScoreMapStore(inputs / "a"), out, write_tensor=tensor_to_bytes)

    assert check_every_kill_point(make, tmp_path) > 10


@pytest.mark.parametrize("names", [("part-0", "part-1"), ("a", "b")], ids=["linked", "repacked"])
def test_merge(inputs, tmp_path, names, monkeypatch):
    monkeypatch.setattr("mmtl.score_maps.transfer.SHARD_BYTES", 500)
    monkeypatch.setattr("mmtl.score_maps.shard.RECORDS_PER_CHUNK", 2)
    stores = [inputs / name for name in names]
    assert check_every_kill_point(lambda out: merge_stores(stores, out), tmp_path) > 10


def test_split(inputs, tmp_path):
    assert check_every_kill_point(lambda out: split_store(inputs / "a", out / "p", 2), tmp_path) > 10


def test_merge_where_links_are_impossible(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link")))
    stores = [inputs / "part-0", inputs / "part-1"]
    assert check_every_kill_point(lambda out: merge_stores(stores, out), tmp_path) > 10


def test_demo_data(tmp_path):
    settings = Settings(num_train=8, num_val=8)
    assert check_every_kill_point(lambda out: make_demo_data(out / "demo", settings), tmp_path) > 10


def test_figures_of_browse_samples_and_show(tmp_path):
    figure = Figure()
    figure.subplots().imshow(np.eye(3))
    assert check_every_kill_point(lambda out: save_figure(figure, out / "a" / "figure.png"), tmp_path) > 1


@pytest.fixture(scope="module")
def segmentor(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("segmentor")
    tiny_segmentation.write_data(root)
    tiny_segmentation.save_checkpoint(tiny_segmentation.write_config(root), root / "w.pth")
    return root


def test_segment(segmentor, tmp_path, monkeypatch):
    loaded = segment.load_model(segmentor / "tiny.py", str(segmentor / "w.pth"), "cpu", None)
    monkeypatch.setattr(segment, "load_model", lambda *_: loaded)

    def make(out: Path) -> None:
        segment.segment(segmentor / "tiny.py", "w.pth", [segmentor / "images" / "val"], out)

    assert check_every_kill_point(make, tmp_path) > 10


def test_the_check_of_a_config_writes_nothing(segmentor, tmp_path):
    before = tree(segmentor)
    assert run_in_child(lambda: check_segmentation(segmentor / "tiny.py", 1), segmentor, None, tmp_path / "count") == 0
    assert tree(segmentor) == before and not (tmp_path / "count").stat().st_size


def test_convert_checkpoint(tmp_path):
    from mmpretrain.registry import MODELS

    from mmtl.models.lvvit import convert_to_released

    arch = dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8, stem_channels=4, residual_divisor=1)
    backbone = dict(type="mmtl.LVViT", arch=arch, img_size=16, patch_size=8)
    head = dict(type="mmtl.TokenLabelHead", num_classes=3, in_channels=8)
    model = MODELS.build(dict(type="mmtl.TokenLabelClassifier", backbone=backbone, head=head))
    torch.save(convert_to_released(model.state_dict()), tmp_path / "released.pth")
    assert check_every_kill_point(lambda out: convert_file(tmp_path / "released.pth", out / "w.pth"), tmp_path) > 1


def test_predict(inputs, tmp_path, monkeypatch):
    scores = {"ant/0.png": torch.tensor([0.5, 0.3, 0.2]), "bee/1.png": None}
    model = type("Model", (), {"model": type("M", (), {"head": type("H", (), {"num_classes": 3})}), "classes": None})
    monkeypatch.setattr("mmtl.apis.predict.load_inferencer", lambda *_: model)
    monkeypatch.setattr("mmtl.apis.predict.classify", lambda *_: scores.items())

    def make(out: Path) -> None:
        predict(Path("config.py"), Path("w.pth"), inputs / "images", out / "table.csv", topk=3)

    assert check_every_kill_point(make, tmp_path) > 1


def test_export_onnx(tmp_path, monkeypatch):
    graph = SimpleNamespace(inputs=[], outputs=[])
    model = SimpleNamespace(opset_imports={"": 20}, metadata_props={}, graph=graph)
    program = SimpleNamespace(save=lambda path: Path(path).write_bytes(b"graph"), model=model)
    monkeypatch.setattr("torch.onnx.export", lambda *_, **__: program)
    monkeypatch.setattr("mmtl.apis.export_onnx.check_file", lambda *_: {})

    def make(out: Path) -> None:
        write_onnx(torch.nn.Identity(), out / "m.onnx", GraphOptions((4, 4)), {})

    assert check_every_kill_point(make, tmp_path) > 1


def test_copy_config(tmp_path):
    config = tmp_path / "config.py"
    config.write_text("a = 1")

    def make(out: Path) -> None:
        copy_config(config, out / "copy.py", replace=True)

    assert check_every_kill_point(make, tmp_path) > 1


def test_steps_and_their_progress(inputs, tmp_path):
    def make(out: Path) -> None:
        step = Step("copy", "Copy", ("cp", str(inputs / "a/manifest.json"), str(out / "work/copy")), out / "work/copy")
        write_steps(out / "project", Path("work"), [replace(step, command=("cp",), out=Path("copy"))], then=())
        assert run_steps([step], out / "work", Console(file=open(os.devnull, "w")))
        shutil.rmtree(out / "work/logs", ignore_errors=True)  # of each attempt, as the times
        (out / "work/steps.json").unlink(missing_ok=True)

    assert check_every_kill_point(make, tmp_path) > 5


def test_the_demos_report(tmp_path, monkeypatch):
    monkeypatch.setattr("mmtl.demo.report.report_values", lambda work: {})
    monkeypatch.setattr("mmtl.demo.report.TEMPLATE", tmp_path / "template.html")
    (tmp_path / "template.html").write_text("<p>report</p>")
    assert check_every_kill_point(write_report, tmp_path) > 1


def write_masks(root: Path) -> Path:
    for number in range(4):
        for kind in ("images", "masks"):
            (root / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.tile(np.uint8([0, 255]), (20, 10 + number))).save(root / kind / f"{number}.png")
    return root


def test_convert_masks(tmp_path):
    source = write_masks(tmp_path / "data") / "masks"
    assert check_every_kill_point(lambda out: convert_masks(source, out), tmp_path) > 10


@pytest.mark.parametrize("kind", ["classes", "masks"])
def test_start(inputs, tmp_path, monkeypatch, kind):
    def refuse(*_) -> None:
        raise OSError("offline")

    for name in ("weights.cached_download", "teacher.check_hub", "teacher.package_weights"):
        monkeypatch.setattr(f"mmtl.apis.start.{name}", refuse)
    folder = inputs / "images" if kind == "classes" else write_masks(tmp_path / "data")

    def make(out: Path) -> None:
        out.mkdir(exist_ok=True)
        os.chdir(out)  # of the forked process; configs name their folder
        start(folder, Path("project"), Wishes(device="cpu", convert=kind == "masks"))
        Path("project/.mmtl-start").write_text("{}")  # digests depend on the folder
        for path in Path("project").glob("*.txt"):
            path.write_text(path.read_text().replace(str(out), "OUT"))

    assert check_every_kill_point(make, tmp_path) > 10


def test_corruption_error(tmp_path, monkeypatch):
    model = SimpleNamespace(model=SimpleNamespace(head=SimpleNamespace(num_classes=3)), pipeline=None)
    monkeypatch.setattr(corruption_error, "load_inferencer", lambda *_: model)
    monkeypatch.setattr(corruption_error, "plan_runs", lambda *_: {("fog", 1): (tmp_path, None)})
    monkeypatch.setattr(corruption_error, "labelled_images", lambda *_: (["a/0.png"], {"a": 0}))
    monkeypatch.setattr(corruption_error, "top1_error", lambda *_, **__: (0.5, []))

    def make(out: Path) -> None:
        corruption_error.corruption_error(Path("config.py"), "w.pth", tmp_path, out / "errors.csv")

    assert check_every_kill_point(make, tmp_path) > 3


def test_worst_images_of_a_test(tmp_path):
    data = write_masks(tmp_path / "data")
    masks = (np.zeros((20, 20), np.int64),) * 2
    worst = [
        worst_images.Tested(0.5, str(data / "images" / f"{number}.png"), labels=None, masks=masks)
        for number in range(2)
    ]
    metainfo = dict(classes=("a", "b"), palette=[[0, 0, 0], [9, 9, 9]])
    assert check_every_kill_point(lambda out: worst_images.write_images(out, worst, metainfo), tmp_path) > 5


def test_select(inputs, tmp_path):
    subset = ClassSubset(10, [[0, 4], [1], [2, 5], [3]], list("abcd"))
    assert check_every_kill_point(lambda out: select_store(inputs / "a", out, subset), tmp_path) > 10


def test_download(tmp_path, monkeypatch):
    monkeypatch.setattr("mmtl.utils.download._chunks", lambda url, path: iter([b"first", b"second"]))

    def make(out: Path) -> None:
        monkeypatch.setattr("torch.hub.get_dir", lambda: str(out))
        cached_download("https://host/w.pth", lambda path: None)

    assert check_every_kill_point(make, tmp_path) > 1


def test_training_is_handed_over_without_a_file_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text("")
    (tmp_path / "config.py").write_text("a = 1")
    monkeypatch.setattr(hand_over, "upstream_script", lambda *_: tmp_path / "train.py")
    before = tree(tmp_path)
    run = partial(hand_over.hand_over, "train", [str(tmp_path / "config.py")])
    counter = tmp_path.with_name(f"{tmp_path.name}-operations")
    assert run_in_child(run, tmp_path, None, counter) == 0
    assert tree(tmp_path) == before and not counter.stat().st_size
