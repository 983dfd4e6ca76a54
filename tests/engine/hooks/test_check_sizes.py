import pytest
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS
from PIL import Image

from mmtl.engine.hooks.check_sizes import check_one_size


@pytest.fixture
def dataset(tmp_path):
    """Return a function that builds a dataset of images of two sizes, with a transform between loading and packing."""
    for name, size in dict(a=(8, 8), b=(8, 9)).items():
        (tmp_path / name).mkdir()
        Image.new("RGB", size).save(tmp_path / name / "1.png")

    def build(*steps):
        pipeline = [dict(type="LoadImageFromFile"), *steps, dict(type="PackInputs")]
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            return DATASETS.build(dict(type="CustomDataset", data_prefix=str(tmp_path), pipeline=pipeline))

    return build


def test_images_of_different_sizes_are_refused_before_the_first_step(dataset):
    """Guards: one's own photographs crashed in the collation of the first validation."""
    with pytest.raises(ValueError, match=r"val_dataloader.dataset.pipeline must resize .* 8 x 8 and .* 8 x 9 pixels"):
        check_one_size(dataset(), "val_dataloader", 2)


@pytest.mark.parametrize("step", [dict(type="Resize", scale=8), dict(type="CenterCrop", crop_size=8)])
def test_resized_and_cropped_images_and_single_ones_pass(dataset, step):
    check_one_size(dataset(step), "val_dataloader", 2)
    check_one_size(dataset(), "val_dataloader", 1)
