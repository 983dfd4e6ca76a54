"""Images to annotate."""

import pytest
from helpers.score_map_makers import write_images


@pytest.fixture
def images(tmp_path):
    write_images(tmp_path / "images", 5)
    return tmp_path / "images"
