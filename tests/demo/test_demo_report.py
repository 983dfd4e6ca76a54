import base64
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.paths import ROOT
from matplotlib.figure import Figure
from mmengine.config import Config

from mmtl.apis.run_logs import Curve, read_curve, training_position
from mmtl.demo.dataset import Settings, make_demo_data
from mmtl.demo.figures import draw_curves, draw_panels
from mmtl.demo.report import cell_agreement, dense_probabilities, embed, write_report
from mmtl.demo.steps import DATA, WORK, make_steps
from mmtl.score_maps import ScoreMap, ScoreMapWriter
from mmtl.visualization.label_images import blend_colors, lay_over, mix_patches

PALETTE = np.array([[230, 159, 0], [86, 180, 233], [0, 158, 115]], np.uint8)


def random_image(seed: int, height: int = 16, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def log(run: Path, attempt: str, *lines: dict, torn: str = "") -> None:
    path = run / attempt / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)


def test_a_resumed_run_replaces_what_the_interrupted_one_did_after_its_checkpoint(tmp_path):
    log(tmp_path, "20260101_000000", *({"step": step, "loss": 10.0 + step} for step in (1, 2, 3, 4, 5)))
    log(tmp_path, "20260102_000000", *({"step": step, "loss": 20.0 + step} for step in (4, 6)))
    assert read_curve(tmp_path, "loss") == Curve([1, 2, 3, 4, 6], [11.0, 12.0, 13.0, 24.0, 26.0])


def test_a_run_that_was_resumed_after_the_clock_was_set_back_keeps_its_curve(tmp_path):
    """Guards: logs were ordered by the times in the names of their folders, so that the resumed part was lost."""
    log(tmp_path, "20260102_000000", *({"step": step, "loss": 1.0} for step in (10, 20, 30, 40, 50)))
    log(tmp_path, "20260101_000000", *({"step": step, "loss": 2.0} for step in (60, 70, 80)))
    assert read_curve(tmp_path, "loss") == Curve(list(range(10, 90, 10)), [1.0] * 5 + [2.0] * 3)
    assert training_position(tmp_path).startswith("step 80")
    log(tmp_path, "20260103_000000", *({"step": step, "loss": 3.0} for step in (40, 50)))
    log(tmp_path, "20260104_000000", *({"step": step, "loss": 4.0} for step in (10, 20)))
    assert read_curve(tmp_path, "loss") == Curve([10, 20], [4.0, 4.0])


def test_an_incomplete_line_and_other_scalars_are_ignored(tmp_path):
    log(tmp_path, "1", {"step": 1, "loss": 2.0, "epoch": 1}, {"step": 1, "accuracy/top1": 9.0}, torn='{"step": 2, "lo')
    assert read_curve(tmp_path, "loss") == Curve([1], [2.0])
    assert read_curve(tmp_path, "accuracy/top1") == Curve([1], [9.0])
    assert read_curve(tmp_path, "mIoU") == Curve([], [])
    assert training_position(tmp_path) == "step 1, loss 2.000, top-1 9.0 %"


def test_curves_of_a_resumed_run_are_drawn_and_missing_ones_are_omitted(tmp_path):
    log(tmp_path / "token_labels", "1", *({"step": step, "accuracy/top1": 10.0 * step} for step in (1, 2, 3)))
    log(tmp_path / "annotator", "1", *({"step": step, "accuracy/top1": 50.0} for step in range(1, 20)))
    accuracy, loss, _ = draw_curves(tmp_path).axes
    annotator, token_labels = accuracy.lines
    assert token_labels.get_xydata().tolist() == [[1, 10], [2, 20], [3, 30]]
    assert [text.get_text() for text in accuracy.get_legend().get_texts()] == ["annotator", "token labels + MixToken"]
    assert (annotator.get_marker(), token_labels.get_marker()) == ("None", "o")
    assert not loss.lines and loss.get_legend() is None


def test_panels_show_the_images_with_their_captions_and_leave_the_rest_empty():
    images = [random_image(seed) for seed in range(3)]
    figure = draw_panels([(image, str(seed)) for seed, image in enumerate(images)], 2, ["a", "b", "c"], PALETTE)
    shown = [(axes.images[0].get_array(), axes.get_title()) for axes in figure.axes if axes.images]
    assert len(figure.axes) == 4 and [caption for _, caption in shown] == ["0", "1", "2"]
    assert all(np.array_equal(*pair) for pair in zip([array for array, _ in shown], images, strict=True))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "c"]


def test_blend_colors_are_linear_in_the_probabilities():
    one_hot = np.eye(3)[None]
    assert np.array_equal(blend_colors(one_hot, PALETTE)[0], PALETTE)
    assert np.array_equal(blend_colors(np.zeros((1, 1, 3)), PALETTE)[0, 0], [255, 255, 255])
    half = blend_colors(np.array([[[0.5, 0.25, 0.0]]]), PALETTE)[0, 0]
    assert np.abs(half - (0.5 * PALETTE[0] + 0.25 * PALETTE[1] + 0.25 * 255.0)).max() <= 0.5


def test_mixed_patches_equal_a_loop_over_patches():
    image, partner = random_image(0), random_image(1)
    stays = np.random.default_rng(2).random((2, 3)) < 0.5
    mixed = mix_patches(image, partner, stays)
    for row, column in np.ndindex(2, 3):
        patch = np.s_[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
        assert np.array_equal(mixed[patch], (image if stays[row, column] else partner)[patch])


def test_each_cell_covers_its_part_of_the_image():
    image, cells = random_image(0), random_image(1, 2, 3)
    assert np.array_equal(lay_over(image, cells, 1.0), cells.repeat(8, 0).repeat(8, 1))
    gray = lay_over(image, cells, 0.0)
    assert np.array_equal(gray[..., 0], gray[..., 1]) and np.array_equal(gray[..., 0], gray[..., 2])


class Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found, self.open = [], []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def decode(url: str) -> np.ndarray:
    png = base64.b64decode(url.removeprefix("data:image/png;base64,"), validate=True)
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def test_an_embedded_figure_has_160_pixels_per_inch():
    assert decode(embed(Figure((2, 1)))).shape == (160, 320, 3)


def softmax_map(logits: np.ndarray, topk: int) -> ScoreMap:
    order = np.argsort(-logits, -1)[..., :topk]
    scores = np.take_along_axis(logits, order, -1)
    return ScoreMap(
        scores.astype(np.float16), order.astype(np.uint16), np.log(np.exp(logits).sum(-1)).astype(np.float16)
    )


def test_dense_probabilities_are_the_softmax_over_all_classes_at_the_top_k():
    logits = np.random.default_rng(0).normal(0, 2, (2, 3, 5))
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert np.allclose(dense_probabilities(softmax_map(logits, 5), 5), softmax, atol=0.01)
    kept = dense_probabilities(softmax_map(logits, 2), 5)
    assert ((kept > 0).sum(-1) == 2).all() and np.allclose(kept.max(-1), softmax.max(-1), atol=0.01)


class Maps(dict):
    grid_hw, num_classes = (2, 3), 3


def test_a_cell_agrees_if_its_top_1_class_is_that_of_the_covering_object():
    covered = np.array([[1, 0, 3], [0, 2, 0]])  # 0 is the background
    mask = covered.repeat(4, 0).repeat(4, 1)
    mask[0:3, 4:8] = 0  # stays background
    mask[4:8, 8:9] = 1  # a quarter of a cell does not cover it
    right = np.eye(3)[np.array([[0, 1, 2], [1, 1, 1]])] * 5
    wrong = np.eye(3)[np.array([[0, 1, 1], [1, 1, 1]])] * 5
    store = Maps(a=softmax_map(right, 2), b=softmax_map(wrong, 2))
    assert cell_agreement(store, ["a"], [mask]) == 100
    assert cell_agreement(store, ["b"], [mask]) == pytest.approx(100 * 2 / 3)


@pytest.fixture
def finished_demo(tmp_path, monkeypatch) -> Path:
    """Imitate the output of the demo's steps without training."""
    configs = ROOT / "configs/demo"
    monkeypatch.chdir(tmp_path)
    make_demo_data(DATA, Settings(num_train=8, num_val=8))
    for step in make_steps(configs):
        if step.run:
            step.run.mkdir(parents=True)
            Config.fromfile(step.command[3]).dump(step.run / "config.py")
            log(step.run, "1", {"step": 1, "accuracy/top1": 40.0, "mIoU": 30.0, "loss_cls": 2.0, "loss_token": 1.0})
    steps = {step.name: dict(command=step.title, seconds=60.0, finished=True) for step in make_steps(configs)}
    (WORK / "steps.json").write_text(json.dumps(steps))
    with ScoreMapWriter(WORK / "score_maps", num_classes=8, grid_hw=(8, 10), topk=5) as writer:
        for image in (DATA / "classification/train").rglob("*.png"):
            logits = np.random.default_rng(0).normal(size=(8, 10, 8))
            writer.add(f"{image.parent.name}/{image.name}", softmax_map(logits, 5))
    shutil.copytree(DATA / "segmentation/annotations/validation", WORK / "predictions/masks")
    return WORK


def test_the_report_on_a_finished_demo_has_its_figures_results_and_commands(finished_demo):
    html = write_report(finished_demo).read_text()
    elements = Elements(html)
    assert not elements.open
    figures = [attrs for tag, attrs in elements.found if tag == "img"]
    assert len(figures) == len({attrs["alt"] for attrs in figures}) == 4
    assert all(decode(attrs["src"]).std() > 5 for attrs in figures)
    assert "LV-ViT, token labels + MixToken</td><td>top-1</td><td class=number>40.00" in html
    assert html.count("<code>") == len(make_steps(Path())) and "Make the synthetic dataset" in html


def test_the_report_is_self_contained_and_escapes_text(finished_demo):
    record = finished_demo / "steps.json"
    record.write_text(record.read_text().replace("Make the synthetic dataset", "<i> < 2"))
    html = write_report(finished_demo).read_text()
    elements = Elements(html)
    assert not {"script", "link", "iframe", "i"} & {tag for tag, _ in elements.found}
    sources = [attrs[name] for _, attrs in elements.found for name in ("src", "href") if name in attrs]
    assert len(sources) == 4 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert "url(" not in html and "http" not in html
    assert "<code>&lt;i&gt; &lt; 2</code>" in html


def test_a_folder_without_a_demo_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}.*run the demo first"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []
