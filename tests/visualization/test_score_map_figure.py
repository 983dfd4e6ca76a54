import numpy as np
import pytest
from helpers.score_map_makers import write_images, write_store
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mmtl.score_maps import ScoreMap, ScoreMapStore, ScoreMapWriter
from mmtl.visualization.score_maps import draw_maps


def test_a_figure_draws_each_cell_over_its_part_of_the_image(tmp_path):
    write_images(tmp_path / "images", 1, size_hw=(30, 60))
    scores = np.array([[[9.0], [1.0]]])
    with ScoreMapWriter(tmp_path / "s", num_classes=3, grid_hw=(1, 2), topk=1) as writer:
        writer.add("ant/0.png", ScoreMap(scores, np.array([[[2], [0]]]), scores[..., 0]))
    names = ["ant", "bee", "cat"]
    figure = draw_maps(ScoreMapStore(tmp_path / "s"), ["ant/0.png"], tmp_path / "images", names, dict(ant=1))
    left, middle, legend = figure.axes
    assert left.get_title() == "ant/0.png\ntrue bee, predicted ant 50%"
    cells = middle.images[1]
    assert cells.get_extent() == [0, 60, 30, 0] and cells.get_array().shape == (1, 2, 4)
    texts = {(round(t.get_position()[0]), t.get_text().split("\n")[0]) for t in middle.texts}
    assert texts == {(15, "2"), (45, "0")}
    assert [t.get_text() for t in legend.get_legend().texts] == [
        "0 ant: 50% of cells, p 1.00",
        "2 cat: 50% of cells, p 1.00",
    ]


@pytest.mark.parametrize("size_hw", [(20, 60), (60, 20), (40, 40), None])
@pytest.mark.parametrize("grid_hw", [(1, 1), (7, 7), (14, 14), (20, 9)])
def test_numbers_of_cells_do_not_overlap(tmp_path, size_hw, grid_hw):
    if size_hw:
        write_images(tmp_path / "images", 1, size_hw=size_hw)
    scores = np.full((*grid_hw, 1), 9.0)
    with ScoreMapWriter(tmp_path / "s", num_classes=1000, grid_hw=grid_hw, topk=1) as writer:
        writer.add("ant/0.png", ScoreMap(scores, np.full(scores.shape, 999), scores[..., 0]))
    figure = draw_maps(ScoreMapStore(tmp_path / "s"), ["ant/0.png"], size_hw and tmp_path / "images", None)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = figure.axes[1].texts
    boxes = [text.get_window_extent() for text in texts]
    assert len(texts) in (0, grid_hw[0] * grid_hw[1]) and (len(texts) or grid_hw != (1, 1))
    for position, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[position + 1 :])


def highest_blank_band(figure):
    """Height in inches of the longest run of rows without ink."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    blank = (np.asarray(canvas.buffer_rgba())[..., :3] == 255).all(axis=(1, 2))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], blank, [0]])))
    return (edges[1::2] - edges[::2]).max() * figure.get_figheight() / len(blank)


@pytest.mark.parametrize("size_hw", [(30, 60), (60, 30), (40, 40)])
def test_rows_of_figures_are_close_together(tmp_path, size_hw):
    write_images(tmp_path / "images", 1, size_hw=size_hw)
    keys = [f"{name}/0.png" for name in ("ant", "bee", "cat")]
    with ScoreMapWriter(tmp_path / "s", num_classes=3, grid_hw=(1, 2), topk=1) as writer:
        for key in keys:
            writer.add(key, ScoreMap(np.zeros((1, 2, 1)), np.zeros((1, 2, 1), int), np.zeros((1, 2))))
    figure = draw_maps(ScoreMapStore(tmp_path / "s"), keys, tmp_path / "images", None)
    assert highest_blank_band(figure) < 0.3  # inches


def test_a_missing_image_is_named(tmp_path):
    write_store(tmp_path / "s", 1)
    with pytest.raises(FileNotFoundError, match=r"a/0.png does not exist"):
        draw_maps(ScoreMapStore(tmp_path / "s"), ["a/0.png"], tmp_path, None)
