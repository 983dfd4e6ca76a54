import numpy as np
from mmpretrain.structures import DataSample

from mmtl.visualization.samples import Sample, class_colors, color_tokens, draw_samples

SAMPLE = Sample(
    image=np.zeros((4, 4, 3), np.uint8),
    data=DataSample(),
    grid_hw=(2, 2),
    top_class=np.array([[3, 7], [7, -1]]),
    probability=np.array([[0.5, 1.0], [0.2, 0.1]]),
    counts=np.array([[True, True], [False, True]]),
)


def test_color_is_the_class_and_opacity_its_probability():
    colors = class_colors([SAMPLE])
    assert colors.keys() == {3, 7} and colors[3] != colors[7]
    overlay = color_tokens(SAMPLE, colors)
    assert tuple(overlay[0, 0, :3]) == colors[3] and tuple(overlay[0, 1, :3]) == colors[7]
    assert overlay[0, 1, 3] == 2 * overlay[0, 0, 3] > 0
    assert tuple(overlay[1, 0]) == (0, 0, 0, 1) and overlay[1, 1, 3] == 0


def test_legend_counts_tokens_of_the_loss_and_a_sample_without_a_map_has_none():
    figure = draw_samples([SAMPLE, Sample(SAMPLE.image, DataSample().set_gt_label(2))], ["a", "b", "c", "d"])
    _, labels, image, plain = figure.axes[:4]
    legend = labels.get_legend()
    texts = [text.get_text() for text in legend.texts]
    assert texts == ["3 d: 1 tokens, p 0.50", "class 7: 1 tokens, p 1.00"]
    colors = class_colors([SAMPLE])
    assert [patch.get_facecolor()[:3] for patch in legend.get_patches()] == [colors[3], colors[7]]
    assert image.get_title() == "2 c\n" and plain.get_title() == "no score map: class label only"
    assert plain.get_legend() is None
