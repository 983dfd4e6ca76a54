"""Released segmentation weights of S, M and L load into these recipes, key by key."""

import json
import re

import pytest
import torch
from helpers import golden
from helpers import small_segmentation_recipes as segmentation
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS

from mmtl.models.lvvit.released_weights import convert_released, convert_to_released

# The side of the position grid: the released L was trained at 448 pixels.
RELEASED = {"small": 32, "medium": 32, "large-released": 28}


def segmentor(name: str, **backbone: object) -> EncoderDecoder:
    """The recipe's model without storage."""
    cfg = Config.fromfile(segmentation.ROOT / f"configs/lvvit/lvvit-{name}_upernet_8xb2-160k_ade20k-512x512.py")
    cfg.model.backbone.update(backbone)
    with DefaultScope.overwrite_default_scope("mmseg"), torch.device("meta"):
        return MODELS.build(cfg.model)


def released_weights(name: str) -> dict[str, torch.Tensor]:
    """Zeros that take no memory, in the names and shapes of a released file."""
    shapes = {key: x.shape for key, x in segmentor(name, img_size=16 * RELEASED[name]).state_dict().items()}
    return convert_to_released({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()})


@pytest.mark.parametrize("name", RELEASED)
def test_released_weights_load_strictly(name):
    weights = released_weights(name)
    model = segmentor(name)
    model.load_state_dict(convert_released(weights), strict=True, assign=True)
    assert not any(weight.is_meta for weight in model.parameters())
    # Kept as released: resized at load time, it would be resized twice for every image that is no 512 x 512.
    assert model.backbone.pos_embed.shape[1] == 1 + RELEASED[name] ** 2
    del weights["auxiliary_head.conv_seg.bias"]
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"auxiliary_head.conv_seg.bias\""):
        segmentor(name).load_state_dict(convert_released(weights), strict=True, assign=True)


@pytest.mark.parametrize("name", RELEASED)
def test_names_are_those_of_the_authors_backbone(name):
    """Up to the number of blocks: those of the recorded small backbone."""
    recorded = json.loads((golden.FOLDER / "seg_pyramid_nano.keys.json").read_text())
    ours = [key.removeprefix("backbone.") for key in released_weights(name) if key.startswith("backbone.")]
    assert {re.sub(r"blocks\.\d+", "blocks.0", key) for key in ours} == {
        re.sub(r"blocks\.\d+", "blocks.0", key) for key in recorded
    }


def test_only_the_released_large_model_leaves_the_residual_divisor_at_one():
    found = {name: segmentor(name).backbone.arch["residual_divisor"] for name in (*RELEASED, "large")}
    assert found == {"small": 2, "medium": 2, "large-released": 1, "large": 3}
