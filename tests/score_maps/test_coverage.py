"""The region of an image that a map shows: recorded in the store, from the import to the training sample."""

import json

import numpy as np
import pytest
from helpers.score_map_makers import contents, write_store
from mmpretrain.registry import TRANSFORMS

from mmtl.score_maps import ScoreMapStore, ScoreMapStoreError, ScoreMapWriter
from mmtl.score_maps.archive import ImageKeys, export_archive, import_archive
from mmtl.score_maps.score_map import coverage_box
from mmtl.score_maps.transfer import merge_stores, split_store
from mmtl.utils.tensor_bytes import tensor_from_bytes, tensor_to_bytes

SQUARE = "center-square"


@pytest.fixture
def stores(tmp_path):
    """A store of complete images, and the same maps imported as those of the center square."""
    write_store(tmp_path / "whole", 12, log_norm=False)
    export_archive(ScoreMapStore(tmp_path / "whole"), tmp_path / "files", write_tensor=tensor_to_bytes)
    form = dict(read_tensor=tensor_from_bytes, key_of=ImageKeys(None, ".png"), shard_bytes=500)
    import_archive(tmp_path / "files", tmp_path / "square", 10, coverage=SQUARE, **form)
    import_archive(tmp_path / "files", tmp_path / "plain", 10, coverage="whole", **form)
    return tmp_path


@pytest.mark.parametrize(
    ("image_hw", "box"),
    [((375, 500), (0.125, 0, 0.875, 1)), ((500, 375), (0, 0.125, 1, 0.875)), ((64, 64), (0, 0, 1, 1))],
)
def test_convention_the_center_square_has_the_shorter_side_of_the_image(image_hw, box):
    np.testing.assert_allclose(coverage_box(SQUARE, image_hw), box)
    assert coverage_box("whole", image_hw) == (0, 0, 1, 1)


def test_only_another_region_than_the_image_is_recorded(stores):
    manifests = {name: json.loads((stores / name / "manifest.json").read_text()) for name in ("plain", "square")}
    assert "coverage" not in manifests["plain"] and manifests["square"]["coverage"] == SQUARE
    assert ScoreMapStore(stores / "plain").coverage == "whole" and ScoreMapStore(stores / "square").coverage == SQUARE


def test_parts_and_merged_stores_keep_it_and_different_ones_are_not_mixed(stores):
    parts = split_store(stores / "square", stores / "part", 2)
    merge_stores(parts, stores / "merged")
    assert contents(stores / "merged") == contents(stores / "square")
    assert ScoreMapStore(parts).coverage == SQUARE
    with pytest.raises(ScoreMapStoreError, match=r"different coverages: \['center-square', 'whole'\]"):
        ScoreMapStore([stores / "square", stores / "plain"])
    with pytest.raises(ScoreMapStoreError, match="coverage"):
        merge_stores([stores / "square", stores / "plain"], stores / "mixed")


def test_unknown_regions_are_refused(stores):
    path = stores / "square" / "manifest.json"
    for wrong in ("left half", ["center-square"], None):
        path.write_text(json.dumps(json.loads(path.read_text()) | dict(coverage=wrong)))
        with pytest.raises(ScoreMapStoreError, match="coverage must be one of"):
            ScoreMapStore(stores / "square")
    with pytest.raises(ValueError, match="coverage must be one of .*got 'left'"):
        ScoreMapWriter(stores / "new", num_classes=10, grid_hw=(2, 2), topk=1, coverage="left")
    assert not (stores / "new").exists()


def test_an_import_of_another_region_does_not_continue_the_first(stores):
    path = stores / "square"
    (path / "manifest.json").unlink()
    form = dict(read_tensor=tensor_from_bytes, key_of=ImageKeys(None, ".png"), shard_bytes=500)
    with pytest.raises(ScoreMapStoreError, match=r"coverage \(center-square / None\)"):
        import_archive(stores / "files", path, 10, **form)


def test_samples_carry_the_region_of_their_store(stores):
    for name, keys in (("square", {"score_map_coverage"}), ("plain", set())):
        load = TRANSFORMS.build(dict(type="mmtl.LoadScoreMap", store=str(stores / name), image_root="images"))
        sample = load(dict(img_path="images/a/0.png"))
        assert sample.keys() - {"img_path", "score_map"} == keys
