"""Token targets and losses against torchvision's RoIAlign and a dense softmax, recorded once."""

import numpy as np
import pytest
import torch
from helpers.paths import DATA
from helpers.score_map_batches import affine_of_boxes

from mmtl.models.token_labels.loss import token_label_loss
from mmtl.models.token_labels.targets import token_targets

GOLDEN = DATA / "golden" / "targets"
FILES = ("targets_small", "targets_nonsquare", "targets_in1k")


def read(name: str, grid: int | None = None, smoothing: float = 0.0) -> tuple:
    """The recorded arrays, and our targets for the file's grid or another."""
    golden = np.load(GOLDEN / f"{name}.npz", allow_pickle=False)
    affine = affine_of_boxes(torch.tensor(golden["boxes_xyxy"]).double())
    for image in np.flatnonzero(golden["hflip"]):
        affine[image, 0, 2] += affine[image, 0, 0]
        affine[image, 0, 0] *= -1
    maps = torch.tensor(golden["values"]), torch.tensor(golden["indices"].astype(np.int32))
    grid = grid or int(golden["grid"])
    return golden, token_targets(*maps, affine, (grid, grid), int(golden["num_classes"]), smoothing=smoothing)


@pytest.mark.parametrize("name", FILES)
def test_targets_equal_the_recorded_ones(name: str) -> None:
    golden, patch_tokens = read(name)
    _, class_token = read(name, grid=1)
    np.testing.assert_allclose(class_token.dense()[:, 0], golden["cls_target"], atol=1e-5, rtol=0)
    columns = patch_tokens.dense().transpose(1, 2)[:, golden["columns"]]
    # The recorded softmax ran along a strided axis of 1000 classes in float32: its rows sum to 1 - 5.5e-5, and it is
    # up to 5.5e-5 off the same rule in float64. Ours is within 5e-7 of float64, so the rounding is not imitated.
    np.testing.assert_allclose(columns, golden["token_target"], atol=1e-5, rtol=6e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", FILES)
def test_losses_equal_the_recorded_ones(name: str, smoothing: float) -> None:
    golden, patch_tokens = read(name, smoothing=smoothing)
    _, class_token = read(name, grid=1, smoothing=smoothing)
    draw = np.random.RandomState(int(golden["logits_seed"]))
    suffix = "_smooth01" if smoothing else ""
    for kind, targets in (("token", patch_tokens), ("cls", class_token)):
        logits = draw.standard_normal((len(targets), targets.tail.shape[1], targets.num_classes))
        loss = token_label_loss(torch.tensor(logits, dtype=torch.float32), targets)
        assert loss.item() == pytest.approx(float(golden[f"loss_{kind}{suffix}"]), abs=1e-4)
