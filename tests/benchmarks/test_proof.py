"""The views of the proof's images are those that their labels follow, and maps are of the images that files show."""

import sys
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

import cv2
import mmcv
import numpy as np
import pytest
import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[2] / "benchmarks/proof"))
import run  # noqa: E402
from images import Images, crop, draw_views  # noqa: E402
from mmengine.config import Config  # noqa: E402

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
    found = torch.cat(list(run.logits_of(annotator, Images(pixels, torch.zeros(3), ["a"]), batch=2)))
    for image, seen in zip(*(images.permute(0, 2, 3, 1).numpy() for images in (pixels, found)), strict=True):
        file = mmcv.imresize(image, (40, 48), interpolation=interpolation, backend=backend)
        assert np.abs(seen - file).max() <= 1


def test_the_script_trains_annotator_labeler_and_arms_and_prints_a_table(tmp_path, monkeypatch, capsys):
    for part, count in (("train", 2), ("val", 1)):
        for k in range(10):
            (tmp_path / part / f"class{k}").mkdir(parents=True)
            for index in range(count):
                cv2.imwrite(str(tmp_path / part / f"class{k}/{index}.png"), np.full((SIZE, SIZE, 3), 20 * k, np.uint8))
    options = "--epochs 1 --seeds 1 --batch 10 --width 4".split()
    arms = ["token labels, MixToken", "self-emerging, hard"]
    argv = ["run.py", str(tmp_path), *options, "--work-dir", str(tmp_path / "out"), "--arms", *arms]
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(run.multiprocessing, "get_context", lambda method: SimpleNamespace(Pool=ThreadPool))
    run.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[1:]] == [f"| {arm}" for arm in arms]
    assert all(0 <= float(row[2]) <= 100 for row in rows[1:])
    stored, labeled = (Config.fromfile(tmp_path / f"out/{run.file_stem(arm, 0)}.py").model for arm in arms)
    assert stored.get("annotator") is None and stored.data_preprocessor.tail == "zero_logit"
    assert Path(labeled.annotator.checkpoint) == tmp_path / "out/labeler_0.pth"
    assert labeled.annotator.topk is None and labeled.data_preprocessor.tail == "probability"
    assert labeled.data_preprocessor.label_form == "hard"
