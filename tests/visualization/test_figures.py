import numpy as np
import pytest
from matplotlib.figure import Figure

from mmtl.visualization.figures import POINTS, add_class_legend, color_cells, draw_over, render, save_figure

COLORS = {3: (1.0, 0.0, 0.0), 7: (0.0, 0.0, 1.0)}


def test_color_is_the_class_and_opacity_grows_with_its_probability():
    cells = color_cells(np.array([[3, 7], [7, -1]]), np.array([[0.5, 1.0], [0.5, 1.0]]), COLORS)
    assert [tuple(cell[:3]) for cell in cells[0]] == [COLORS[3], COLORS[7]]
    assert cells[0, 1, 3] > cells[1, 0, 3] == cells[0, 0, 3] > 0 == cells[1, 1, 3]


@pytest.mark.parametrize(
    ("image", "extent"), [(np.zeros((30, 60, 3), np.uint8), [0, 60, 30, 0]), (None, [0, 2, 1, 0])]
)
def test_cells_cover_the_image_or_without_one_the_axes(image, extent):
    axes = Figure().subplots()
    draw_over(axes, image, np.zeros((1, 2, 4)))
    assert all(each.get_extent() == extent for each in axes.images) and len(axes.images) == 1 + (image is not None)


def test_legend_lists_the_most_frequent_classes_and_counts_the_others():
    axes = Figure().subplots()
    top_class = np.array([[5, 3, 3, 7], [3, 3, 7, 7]])
    add_class_legend(axes, top_class, np.linspace(0, 1, 8).reshape(2, 4), {5: "green", **COLORS}, None, num_listed=2)
    texts = [text.get_text() for text in axes.get_legend().texts]
    assert texts == ["class 3: 50% of cells, p 0.43", "class 7: 38% of cells, p 0.76", "and 1 more"]


def test_figure_is_written_completely_or_not_at_all(tmp_path):
    for name in ("a/figure.png", "b/figure.PDF"):
        save_figure(Figure(), tmp_path / name)
        assert [path.name for path in (tmp_path / name).parent.iterdir()] == [(tmp_path / name).name]
    with pytest.raises(ValueError, match=r"figure.txt: .* .png, .jpg"):
        save_figure(Figure(), tmp_path / "c/figure.txt")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("name", ["$\\frac{", "a$b$c", "caf\udce9", "\x1b[31m"])
def test_names_are_drawn_as_they_are(tmp_path, name):
    """Guards: a dollar sign in a class name or key ended figures with a parser's error."""
    figure = Figure()
    figure.subplots().set_title(name)
    save_figure(figure, tmp_path / "a.png")
    assert render(figure).size


def test_an_image_is_visible_under_a_sure_label_and_no_type_is_small():
    assert color_cells(np.array([[3]]), np.array([[1.0]]), COLORS)[0, 0, 3] < 0.6
    axes = Figure().subplots()
    add_class_legend(axes, np.array([3]), np.array([1.0]), COLORS, None)
    assert all(text.get_fontsize() >= POINTS >= 9 for text in axes.get_legend().texts)


def test_what_is_outside_of_a_figure_is_not_cut_off():
    figure = Figure((2, 2), dpi=100)
    figure.text(0.9, 0.5, "a long text that begins at the right border")
    assert render(figure).shape[1] > 300
