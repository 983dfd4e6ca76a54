"""Load a timm model as annotator."""

from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from mmtl.annotators.annotator import Annotator, Inference
from mmtl.annotators.dense_timm import DenseTimmModel
from mmtl.annotators.load_mmpretrain import PRETRAINED, RANDOM_WEIGHTS
from mmtl.utils.checkpoint import fit_weights, read_checkpoint, state_sha256, unwrap_weights
from mmtl.utils.import_timm import import_timm

PREFIX = "timm/"


class NormalizeRgb(nn.Module):
    """Convert uint8 BGR images to timm's input: RGB in 0..1, minus the mean, divided by the standard deviation."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return normalized images [B, 3, H, W] on the module's device."""
        return (images.to(self.mean.device).flip(1).float() / 255 - self.mean) / self.std


def load_timm(
    name: str, checkpoint: str, device: str, inference: Inference, input_hw: tuple[int, int] | None = None
) -> Annotator:
    """Load a timm model with its own test size, interpolation and normalization; see `mmtl.annotators.load`."""
    timm = import_timm(name)
    weights = {}
    if checkpoint not in (PRETRAINED, RANDOM_WEIGHTS):
        weights = unwrap_weights(read_checkpoint(Path(checkpoint)))
    model = _create(timm, name.removeprefix(PREFIX), checkpoint == PRETRAINED, weights)
    if checkpoint not in (PRETRAINED, RANDOM_WEIGHTS):
        fit_weights(model, weights, checkpoint)
    if not model.num_classes:
        raise ValueError(f"{name} has no classifier. Choose a model with classes, or give a --checkpoint of one.")
    return timm_annotator(model, name, checkpoint, device, inference, input_hw)


def timm_annotator(
    model: nn.Module,
    name: str,
    checkpoint: str,
    device: str,
    inference: Inference,
    input_hw: tuple[int, int] | None = None,
) -> Annotator:
    """Return the annotator of a timm model that has its weights."""
    timm = import_timm(name)
    data = timm.data.resolve_model_data_config(model, use_test_size=True)
    if input_hw is not None and hasattr(model, "set_input_size"):
        model.set_input_size(img_size=input_hw)
    elif input_hw is None and model.pretrained_cfg.get("fixed_input_size", False):
        data = timm.data.resolve_model_data_config(model)  # its position embedding has the training size
    return Annotator(
        dense=DenseTimmModel(model).to(device).eval(),
        normalize=NormalizeRgb(data["mean"], data["std"]).to(device),
        size_hw=tuple(data["input_size"][1:]),
        interpolation=data["interpolation"],
        backend="pillow",
        description={
            "name": name,
            "library": "timm",
            "checkpoint": Path(checkpoint).name,
            "weights_sha256": state_sha256(model),
            **class_description(model.num_classes),
        },
        normalization={"mean": list(data["mean"]), "std": list(data["std"]), "to_rgb": True},
        inference=inference,
    )


def class_description(num_classes: int) -> dict[str, list[str] | None]:
    """Return names and wnids of the classes of ImageNet, of which timm recognizes the subsets by their size."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": num_classes})
    if subset is None:
        return {"class_names": None}
    info = ImageNetInfo(subset)
    return {"class_names": info.label_descriptions(), "class_folders": list(info.label_names())}


def _create(timm: ModuleType, name: str, pretrained: bool, weights: dict[str, torch.Tensor] | None) -> nn.Module:
    """Return the model, with as many classes as the weights have."""
    torch.manual_seed(0)  # random weights are the same on every rank
    if not timm.is_model(name):
        similar = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:5])
        raise ValueError(f"timm has no model {name!r}{f', but {similar}' if similar else ''}.")
    model = timm.create_model(name, pretrained=pretrained)
    weight = (weights or {}).get(f"{model.pretrained_cfg.get('classifier')}.weight")
    if weight is not None and len(weight) != model.num_classes:
        model = timm.create_model(name, num_classes=len(weight))
    return model
