import numpy as np
from helpers import tiny_segmentation as tiny
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from mmtl.visualization import overlay
from mmtl.visualization.confusion_matrix import label_axes
from mmtl.visualization.overlay import draw_comparison, draw_overlay

EMPTY = Image.new("RGB", (9, 9))


def test_overlay_is_the_image_at_opacity_0_and_the_palette_at_opacity_1():
    image, mask = tiny.make_pair((400, 360), 0)
    palette = np.array([[10, 20, 30], [200, 0, 0], [0, 0, 200]], np.uint8)
    for opacity, expected in ((0, image), (1, palette[mask])):
        drawn = np.asarray(draw_overlay(image, mask, tiny.CLASSES, palette, opacity))
        np.testing.assert_array_equal(drawn[:400, :360], expected)


def test_legend_lists_the_largest_class_first_and_counts_those_that_do_not_fit():
    mask = np.zeros((40, 500), np.uint8)
    mask[:, :30] = np.arange(1, 31)
    palette = np.random.default_rng(0).integers(0, 200, (31, 3), np.uint8)
    drawn = draw_overlay(np.zeros((40, 500, 3), np.uint8), mask, [f"class {i}" for i in range(31)], palette)
    legend = np.asarray(drawn)[:, 500:]
    lines = [int(label) for label in range(31) if (legend == palette[label]).all(-1).any()]
    first = np.argwhere((legend == palette[0]).all(-1)).min(0)
    assert len(lines) == 7 and 0 in lines and first[0] < 10  # the eighth line counts the others


def test_a_comparison_has_the_shares_of_the_annotation_and_unlabeled_pixels_in_its_legend(monkeypatch):
    truth, prediction = np.zeros((40, 40), np.uint8), np.full((40, 40), 2)
    truth[:10] = 255
    drawn = []
    monkeypatch.setattr(overlay, "draw_legend", lambda counts, names, *_, **__: drawn.append((counts, names)) or EMPTY)
    palette = np.array([[10, 20, 30], [200, 0, 0], [0, 0, 200]], np.uint8)
    draw_comparison(np.zeros((40, 40, 3), np.uint8), truth, prediction, ["a", "b", "c"], palette)
    assert drawn == [({0: 1200, 2: 0, 3: 400}, ["a", "b", "c", "unlabeled"])]
    draw_comparison(np.zeros((40, 40, 3), np.uint8), None, prediction, ["a", "b", "c"], palette)
    assert drawn[1] == ({2: 1600}, ["a", "b", "c"])


def test_long_class_names_are_cut_with_an_ellipsis_in_legends_and_confusion_matrices(monkeypatch):
    name, palette, drawn = "a" * 40, np.zeros((1, 3), np.uint8), []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda _, place, text, **__: drawn.append(text))
    draw_overlay(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8), [name], palette)
    assert f"{'a' * 31}…  100.0%" in drawn
    axes = Figure().subplots()
    label_axes(axes, [name, "b"], fontsize=7)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a" * 23 + "…", "b"]
