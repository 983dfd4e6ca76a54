import numpy as np
from mmpretrain.structures import DataSample

from mmtl.visualization.samples import Sample, TokenLabels, draw_samples

TOKENS = TokenLabels(
    top_class=np.array([[3, 7], [7, -1]]),
    probability=np.array([[0.5, 1.0], [0.2, 0.1]]),
    counts=np.array([[True, True], [False, True]]),
)
SAMPLE = Sample(np.zeros((4, 4, 3), np.uint8), DataSample(), TOKENS)


def test_ignored_tokens_are_black_and_uniform_ones_transparent():
    labels = draw_samples([SAMPLE], None).axes[1]
    colors = [patch.get_facecolor()[:3] for patch in labels.get_legend().get_patches()]
    cells = labels.images[1].get_array()
    assert [tuple(cells[0, 0, :3]), tuple(cells[0, 1, :3])] == colors and colors[0] != colors[1]
    assert cells[0, 1, 3] > cells[0, 0, 3] > 0
    assert tuple(cells[1, 0]) == (0, 0, 0, 1) and cells[1, 1, 3] == 0


def test_legend_counts_tokens_of_the_loss_and_a_sample_without_a_map_has_none():
    figure = draw_samples([SAMPLE, Sample(SAMPLE.image, DataSample().set_gt_label(2))], ["a", "b", "c", "d"])
    _, labels, image, plain = figure.axes[:4]
    texts = [text.get_text() for text in labels.get_legend().texts]
    assert texts == ["d: 50% of tokens, p 0.50", "class 7: 50% of tokens, p 1.00"]
    assert image.get_title() == "c\n" and plain.get_title() == "no score map: class label only"
    assert plain.get_legend() is None


def test_masks_are_drawn_in_the_colors_of_the_palette_without_a_grid_under_their_own_title():
    mask = TokenLabels(np.array([[1, 0], [1, -1]]), np.ones((2, 2)), np.array([[True, True], [True, False]]))
    palette = np.array([[0, 0, 255], [255, 0, 0]], np.uint8)
    figure = draw_samples([Sample(SAMPLE.image, {}, mask, "a title")], ["a", "b"], palette)
    image, labels = figure.axes[:2]
    cells = labels.images[1].get_array()
    assert [tuple(cells[0, x, :3]) for x in (0, 1)] == [(1, 0, 0), (0, 0, 1)] and tuple(cells[1, 1]) == (0, 0, 0, 1)
    assert [text.get_text() for text in labels.get_legend().texts] == ["b: 67% of pixels", "a: 33% of pixels"]
    assert image.get_title() == "a title\n" and not image.collections


def test_titles_name_the_image_with_its_folder():
    figure = draw_samples([Sample(SAMPLE.image, dict(img_path="data/photos/cat/1.jpg", gt_label=1))], ["a", "b"])
    assert figure.axes[0].get_title() == "b\ncat/1.jpg"
