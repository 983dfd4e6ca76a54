"""The model and its heads are found inside any wrappers."""

import pytest
from mmengine.model import BaseModel
from mmseg.models import SegTTAModel
from torch import nn

from mmtl.utils.model_parts import decode_head_of, head_of, unwrap_model

WRAPPERS = {
    "none": lambda model: model,
    "several devices": nn.DataParallel,
    "views": lambda model: SegTTAModel(module=model),
    "both": lambda model: nn.DataParallel(SegTTAModel(module=model)),
}


class TwoHeads(BaseModel):
    """A model with the heads of a classifier and of a segmentor."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.decode_head = nn.Linear(1, 2), nn.Linear(1, 3)

    def forward(self) -> None:
        """Return nothing."""


@pytest.fixture
def model():
    return TwoHeads()


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_hide_neither_a_model_nor_its_heads(model, wrap):
    assert unwrap_model(wrap(model)) is model
    assert head_of(wrap(model)) is model.head
    assert decode_head_of(wrap(model)) is model.decode_head


def test_the_decode_head_of_a_cascade_is_its_last_and_other_models_have_no_head(model):
    first, last = nn.Linear(1, 4), nn.Linear(1, 5)
    model.decode_head = nn.ModuleList([first, last])
    assert decode_head_of(model) is last
    assert head_of(nn.Linear(1, 1)) is None
