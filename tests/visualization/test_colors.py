import numpy as np

from mmtl.visualization.colors import class_name, class_palette, color_of, colors_by_frequency


def test_neighboring_colors_are_far_apart_and_none_repeats():
    colors = np.array([color_of(index) for index in range(20)])
    distances = np.linalg.norm(colors[:, None] - colors, axis=-1) + 9 * np.eye(20)
    assert distances.min() > 0.3 and np.linalg.norm(np.diff(colors, axis=0), axis=-1).min() > 0.5
    assert len(np.unique(class_palette(300), axis=0)) == 300


def test_palette_holds_the_colors_in_8_bits():
    palette = class_palette(7)
    assert palette.dtype == np.uint8 and class_palette(0).shape == (0, 3)
    np.testing.assert_allclose(palette / 255, [color_of(label) for label in range(7)], atol=0.5 / 255)


def test_most_frequent_classes_get_the_first_colors():
    colors = colors_by_frequency(np.array([[900, 3, 900], [3, 900, 55]]))
    assert colors == {900: color_of(0), 3: color_of(1), 55: color_of(2)}


def test_name_has_the_index_and_is_only_the_index_if_unknown():
    names = ["tench", "a very long name of a class"]
    assert class_name(0, names) == "0 tench" and class_name(1, names, 6) == "1 a very"
    assert class_name(2, names) == class_name(2, None) == "class 2"
