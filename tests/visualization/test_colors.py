import cv2
import numpy as np

from mmtl.utils.class_colors import class_palette, color_of
from mmtl.visualization.colors import class_name, figure_colors


def test_neighboring_colors_are_far_apart_and_none_repeats():
    colors = np.array([color_of(index) for index in range(20)])
    distances = np.linalg.norm(colors[:, None] - colors, axis=-1) + 9 * np.eye(20)
    assert distances[:12, :12].min() > 0.26 and distances.min() > 0.15
    assert np.linalg.norm(np.diff(colors[:12], axis=0), axis=-1).min() > 0.38
    assert len(np.unique(class_palette(300), axis=0)) == 300


def test_the_first_colors_stay_apart_when_they_are_laid_over_images():
    """Guards: the blues of classes 0 and 5 looked the same on bright images."""
    colors = np.array([color_of(index) for index in range(8)])
    for gray in (0.5, 0.85):
        lab = cv2.cvtColor(np.float32([0.5 * colors + 0.5 * gray]), cv2.COLOR_RGB2LAB)[0]
        assert (np.linalg.norm(lab[:, None] - lab, axis=-1) + 100 * np.eye(8)).min() > 15


def test_palette_holds_the_colors_in_8_bits():
    palette = class_palette(7)
    assert palette.dtype == np.uint8 and class_palette(0).shape == (0, 3)
    np.testing.assert_allclose(palette / 255, [color_of(label) for label in range(7)], atol=0.5 / 255)


def test_few_classes_keep_their_colors_and_of_many_the_most_frequent_get_the_first():
    labels = np.array([[9, 3, 9], [3, 9, -1]])
    assert figure_colors(labels, 10) == {3: color_of(3), 9: color_of(9)}
    assert figure_colors(labels, 1000) == {9: color_of(0), 3: color_of(1)}


def test_colors_of_few_classes_differ_for_people_without_red_or_green_receptors():
    # Vienot, Brettel & Mollon 1999: protanopia and deuteranopia in linear RGB.
    protanopia = [[0.112, 0.888, 0], [0.112, 0.888, 0], [0.004, -0.004, 1]]
    deuteranopia = [[0.293, 0.707, 0], [0.293, 0.707, 0], [-0.022, 0.022, 1]]
    linear = np.array([color_of(index) for index in range(8)]) ** 2.2
    for view in (protanopia, deuteranopia):
        seen = (linear @ np.array(view).T).clip(0, 1) ** (1 / 2.2)
        distances = np.linalg.norm(seen[:, None] - seen, axis=-1) + 9 * np.eye(8)
        assert distances.min() > 0.12


def test_a_class_is_shown_by_its_name_or_by_its_index_if_unknown():
    names = ["tench", "a very long name of a class"]
    assert class_name(0, names) == "tench" and class_name(1, names, 7) == "a very…"
    assert class_name(2, names) == class_name(2, None) == "class 2"
