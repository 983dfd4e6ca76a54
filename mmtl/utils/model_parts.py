"""What a hook or tool wants of a model, whatever wraps it."""

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn


def bare_model(model: nn.Module) -> nn.Module:
    """The model without its wrappers for several devices and for test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def head_of(model: nn.Module) -> nn.Module | None:
    """The head of a classifier; None of other models."""
    return getattr(bare_model(model), "head", None)


def decode_head_of(model: nn.Module) -> nn.Module:
    """The decode head of a segmentor, the last of a cascade."""
    head = bare_model(model).decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head
