import base64
import json
import re
import runpy
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from helpers.paths import ROOT
from hypothesis import given
from hypothesis import strategies as st

from mmtl.demo import (
    Curve,
    Figure,
    Line,
    blend_colors,
    data_uri,
    figure_row,
    lay_over,
    line_chart,
    mix_patches,
    page,
    paint_mask,
    paragraph,
    read_curve,
    section,
    table,
    training_position,
)
from mmtl.demo.charts import nice_ticks
from mmtl.score_maps import ScoreMap

TOOL = SimpleNamespace(**runpy.run_path(str(ROOT / "tools" / "demo_report.py")))
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


def test_a_half_written_line_and_other_scalars_do_not_disturb(tmp_path):
    log(tmp_path, "1", {"step": 1, "loss": 2.0, "epoch": 1}, {"step": 1, "accuracy/top1": 9.0}, torn='{"step": 2, "lo')
    assert read_curve(tmp_path, "loss") == Curve([1], [2.0])
    assert read_curve(tmp_path, "accuracy/top1") == Curve([1], [9.0])
    assert read_curve(tmp_path, "mIoU") == Curve([], [])
    assert training_position(tmp_path) == "epoch 1, step 1, loss 2.000"
    assert training_position(tmp_path / "not yet") == ""


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e5))
def test_ticks_are_round_evenly_spaced_and_inside(low, span):
    ticks = nice_ticks(low, low + span)
    assert 2 <= len(ticks) <= 7
    slack = 1e-6 * max(abs(low), span)
    assert low - slack <= ticks[0] and ticks[-1] <= low + span + slack
    steps = np.diff(ticks)
    assert np.allclose(steps, steps[0])
    assert float(f"{steps[0]:.0e}") == pytest.approx(steps[0])  # one digit


def test_a_chart_places_its_range_on_the_axes_and_rises_upwards():
    svg = line_chart([Line("a", Curve([0, 5, 10], [0.0, 50.0, 100.0]), "#000")], "step", "title", (0, 100))
    points = re.search(r'points="([^"]+)"', svg)[1].split()
    (x0, y0), (x1, y1), (x2, y2) = ([float(value) for value in point.split(",")] for point in points)
    assert x0 < x1 < x2 and y0 > y1 > y2
    assert (x1, y1) == pytest.approx(((x0 + x2) / 2, (y0 + y2) / 2), abs=0.1)
    assert f'x1="{x0}" y1="{y0}"' in svg and f'x1="{x0}" y1="{y2}"' in svg  # grid lines at 0 and 100


def test_a_curve_that_was_never_logged_is_left_out():
    empty = Line("empty", Curve([], []), "#000")
    assert "empty" not in line_chart([empty, Line("full", Curve([1], [1.0]), "#000")], "step", "title")
    assert "nothing was logged" in line_chart([empty], "step", "title")


def test_blended_colors_are_linear_in_the_probabilities():
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


def test_cells_are_laid_over_their_own_part_of_the_image():
    image, cells = random_image(0), random_image(1, 2, 3)
    assert np.array_equal(lay_over(image, cells, 1.0), cells.repeat(8, 0).repeat(8, 1))
    grey = lay_over(image, cells, 0.0)
    assert np.array_equal(grey[..., 0], grey[..., 1]) and np.array_equal(grey[..., 0], grey[..., 2])


def test_masks_are_painted_in_the_colours_of_their_classes():
    assert np.array_equal(paint_mask(np.array([[2, 0, 255]]), PALETTE)[0], [PALETTE[2], PALETTE[0], (255, 255, 255)])


def test_an_image_comes_out_of_its_data_uri_as_it_went_in():
    image = random_image(3)
    png = base64.b64decode(data_uri(image).removeprefix("data:image/png;base64,"))
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decoded[..., ::-1], image)


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


def test_a_page_is_well_formed_needs_nothing_beside_it_and_shows_text_as_text():
    chart = line_chart([Line("<b>", Curve([1, 2], [1.0, 2.0]), "#000")], "step", "a & b")
    rows = table(["name", "value"], [["<i>", 0.125]], code_column=0)
    html = page(
        "x < y", section("s", paragraph("1 < 2"), rows, chart, figure_row([Figure(random_image(0), '"q"')], 2))
    )
    elements = Elements(html)
    assert not elements.open
    assert not {"script", "link", "iframe", "b", "i"} & ({tag for tag, _ in elements.found} - {"b"})
    sources = [attrs[name] for _, attrs in elements.found for name in ("src", "href") if name in attrs]
    assert len(sources) == 1 and sources[0].startswith("data:image/png;base64,")
    assert "url(" not in html and "http" not in html
    assert "&lt;i&gt;" in html and "0.12" in html and "1 &lt; 2" in html


def softmax_map(logits: np.ndarray, topk: int) -> ScoreMap:
    order = np.argsort(-logits, -1)[..., :topk]
    scores = np.take_along_axis(logits, order, -1)
    return ScoreMap(
        scores.astype(np.float16), order.astype(np.uint16), np.log(np.exp(logits).sum(-1)).astype(np.float16)
    )


def test_map_probabilities_are_the_softmax_over_all_classes_of_the_kept_ones():
    logits = np.random.default_rng(0).normal(0, 2, (2, 3, 5))
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert np.allclose(TOOL.map_probabilities(softmax_map(logits, 5), 5), softmax, atol=0.01)
    kept = TOOL.map_probabilities(softmax_map(logits, 2), 5)
    assert ((kept > 0).sum(-1) == 2).all() and np.allclose(kept.max(-1), softmax.max(-1), atol=0.01)


class Maps(dict):
    grid_hw, num_classes = (2, 3), 3


def test_cells_agree_when_the_best_class_is_that_of_the_covering_object():
    covered = np.array([[1, 0, 3], [0, 2, 0]])  # 0 ground
    mask = covered.repeat(4, 0).repeat(4, 1)
    mask[0:3, 4:8] = 0  # the ground stays the ground
    mask[4:8, 8:9] = 1  # a quarter of a cell is not most of it
    right = np.eye(3)[np.array([[0, 1, 2], [1, 1, 1]])] * 5
    wrong = np.eye(3)[np.array([[0, 1, 1], [1, 1, 1]])] * 5
    store = Maps(a=softmax_map(right, 2), b=softmax_map(wrong, 2))
    assert TOOL.cell_agreement(store, ["a"], [mask]) == 100
    assert TOOL.cell_agreement(store, ["b"], [mask]) == pytest.approx(100 * 2 / 3)


def test_a_folder_without_a_demo_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["demo_report", str(tmp_path)])
    assert TOOL.main() == 1
    assert str(tmp_path) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
