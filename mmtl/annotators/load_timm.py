"""A timm model as annotator."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmtl.annotators.annotator import Annotator, Inference
from mmtl.annotators.dense_timm import DenseTimmModel
from mmtl.annotators.load_mmpretrain import RANDOM_WEIGHTS
from mmtl.utils.checkpoint import fit_weights, read_checkpoint, state_sha256, unwrap_weights

PREFIX = "timm/"
PRETRAINED = "pretrained"


class NormaliseRgb(nn.Module):
    """uint8 BGR images to timm's input: RGB in 0..1, mean taken off, divided by std.

    Args:
        mean: Of the red, green and blue channel, in 0..1.
        std: Likewise.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images [B, 3, H, W] on the module's device."""
        return (images.to(self.mean.device).flip(1).float() / 255 - self.mean) / self.std


def load_timm(
    name: str, checkpoint: str, device: str, inference: Inference, input_hw: tuple[int, int] | None = None
) -> Annotator:
    """A timm model as annotator; its own input size, interpolation and normalisation are taken.

    Args:
        name: "timm/" and the model's name.
        checkpoint: "pretrained" (downloaded), "random", or a weights file.
        device: Where it runs.
        inference: How it is run.
        input_hw: Input size to make the model for, if it is made for one; None for its own test size.

    Raises:
        ImportError: timm is not installed.
        FileNotFoundError: There is no such checkpoint.
        ValueError: timm has no such model, or the checkpoint does not fit it.
    """
    try:
        import timm
    except ImportError:
        raise ImportError(f"{name} wants timm: pip install 'mmtl[timm]'.") from None
    state = None if checkpoint in (PRETRAINED, RANDOM_WEIGHTS) else unwrap_weights(read_checkpoint(Path(checkpoint)))
    model = _create(timm, name.removeprefix(PREFIX), checkpoint == PRETRAINED, state)
    if state is not None:
        fit_weights(model, state, checkpoint)
    if not model.num_classes:
        raise ValueError(f"{name} has no classifier: choose a model with classes, or give a --checkpoint of one.")
    data = timm.data.resolve_model_data_config(model, use_test_size=True)
    if input_hw is not None and hasattr(model, "set_input_size"):
        model.set_input_size(img_size=input_hw)
    elif input_hw is None and _is_fixed(model):
        data = timm.data.resolve_model_data_config(model)  # a position embedding of the training size
    return Annotator(
        dense=DenseTimmModel(model).to(device).eval(),
        normalise=NormaliseRgb(data["mean"], data["std"]).to(device),
        size_hw=tuple(data["input_size"][1:]),
        interpolation=data["interpolation"],
        backend="pillow",
        description={
            "name": name,
            "library": "timm",
            "checkpoint": Path(checkpoint).name,
            "weights_sha256": state_sha256(model),
            "class_names": None,
        },
        normalisation={"mean": list(data["mean"]), "std": list(data["std"]), "to_rgb": True},
        inference=inference,
    )


def _create(timm: Any, name: str, pretrained: bool, state: dict[str, torch.Tensor] | None) -> nn.Module:
    """The model, with as many classes as the weights have."""
    torch.manual_seed(0)  # random weights are the same in every process
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:5])
        raise ValueError(f"timm has no model {name!r}{f', but {close}' if close else ''}.")
    model = timm.create_model(name, pretrained=pretrained)
    classifier = model.pretrained_cfg.get("classifier")
    weight = (state or {}).get(f"{classifier}.weight")
    if weight is not None and len(weight) != model.num_classes:
        model = timm.create_model(name, num_classes=len(weight))
    return model


def _is_fixed(model: nn.Module) -> bool:
    return bool(model.pretrained_cfg.get("fixed_input_size", False))
