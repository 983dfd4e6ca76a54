"""The views of the proof's images are those that their labels follow, and maps are of the images that files show."""

import sys
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[2] / "benchmarks/proof"))
from images import Images, crop, draw_views  # noqa: E402
from run import logits_of  # noqa: E402

from mmtl.annotators.annotator import Annotator  # noqa: E402

SIZE = 32


def ramps(count):
    """Images whose first two channels are the pixel centers' x and y, in eighths of a pixel."""
    centers = ((torch.arange(SIZE) + 0.5) * 8 - 4).to(torch.uint8)  # 0 to 248
    x = centers.expand(SIZE, SIZE)
    return torch.stack([x, x.T, x]).expand(count, -1, -1, -1).contiguous()


def test_a_crop_shows_at_every_pixel_the_position_that_its_view_names():
    views = draw_views(64, np.random.default_rng(0))
    cut = crop(ramps(64), views).float()
    unit = (torch.arange(SIZE) + 0.5) / SIZE
    for image, view in zip(cut, views, strict=True):
        x = (view[0, 0] * unit + view[0, 2]) * SIZE  # in pixels of the original
        y = (view[1, 1] * unit + view[1, 2]) * SIZE
        inside = slice(1, -1)  # beyond the outer pixel centers the border repeats
        assert ((image[0] - (x * 8 - 4).clip(0, 248))[:, inside].abs() <= 0.51).all()
        assert ((image[1] - (y * 8 - 4).clip(0, 248)[:, None])[inside].abs() <= 0.51).all()


def test_views_are_inside_the_image_and_half_of_them_flipped():
    views = draw_views(4000, np.random.default_rng(1), smallest_area=0.2)
    corners = torch.stack([views[..., 2], views[..., 2] + views[..., :2].sum(-1)])
    assert (corners >= -1e-6).all() and (corners <= 1 + 1e-6).all()
    assert 0.45 < (views[:, 0, 0] < 0).float().mean() < 0.55
    areas = views[:, 0, 0].abs() * views[:, 1, 1]
    assert areas.min() < 0.25 and areas.max() > 0.9 and areas.min() > 0.15


def test_the_view_of_the_complete_image_changes_nothing():
    pixels = torch.randint(256, (3, 3, SIZE, SIZE), dtype=torch.uint8)
    assert (crop(pixels, torch.eye(2, 3).expand(3, -1, -1)) == pixels).all()


@pytest.mark.parametrize(("interpolation", "backend"), [("bilinear", "cv2"), ("bilinear", "pillow")])
def test_stored_maps_are_of_images_resized_as_files_are(interpolation, backend):
    """Guards: maps were made of images that were resized in another way than the annotator's training resized them."""
    pixels = torch.randint(256, (3, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    annotator = Annotator(nn.Identity(), nn.Identity(), (48, 40), interpolation, backend, {}, {})
    found = torch.cat(list(logits_of(annotator, Images(pixels, torch.zeros(3), ["a"]), batch=2)))
    for image, seen in zip(*(images.permute(0, 2, 3, 1).numpy() for images in (pixels, found)), strict=True):
        file = mmcv.imresize(image, (40, 48), interpolation=interpolation, backend=backend)
        assert np.abs(seen - file).max() <= 1
