"""Access to a model and its head behind model wrappers."""

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn


def unwrap_model(model: nn.Module) -> nn.Module:
    """Return the model inside wrappers for distributed training and test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def head_of(model: nn.Module) -> nn.Module | None:
    """Return the head of a classifier, or None if the model has no head."""
    return getattr(unwrap_model(model), "head", None)


def decode_head_of(model: nn.Module) -> nn.Module:
    """Return the decode head of a segmentor, the last one of a cascade."""
    head = unwrap_model(model).decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head
