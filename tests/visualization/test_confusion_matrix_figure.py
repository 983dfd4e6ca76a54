import numpy as np
import pytest

from mmtl.visualization.confusion_matrix import draw_confusion_matrix


@pytest.mark.parametrize("classes", [1, 11, 60])
def test_diagonal_is_dark_and_a_row_is_gray_where_a_class_has_no_pixel(classes):
    counts = np.diag(np.full(classes, 10))
    counts[-1] = 0
    image = draw_confusion_matrix(counts, [f"class {i}" for i in range(classes)])
    assert image.dtype == np.uint8 and image.ndim == 3 and min(image.shape[:2]) > 400
    side = 100 * max(4.0, (0.42 if classes <= 30 else 0.16) * classes)  # pixels of the matrix

    def cell(row, column):
        return image[int(50 + (row + 0.2) * side / classes), int(220 + (column + 0.8) * side / classes)]

    assert np.ptp(cell(classes - 1, 0)) < 3 and 200 < cell(classes - 1, 0)[0] < 230
    if classes > 1:
        assert cell(0, 0)[0] < 40 and cell(0, 1).min() > 230
