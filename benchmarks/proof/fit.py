"""Train and evaluate a classifier on images that are on the device: MMPretrain's parts in a bare loop."""

import numpy as np
import torch
import torch.nn.functional as F
from images import Images, crop, draw_views
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

import mmtl.engine.optim  # noqa: F401 - registers the constructor

RECIPE_BATCH = 128  # images, for which the recipes' learning rates are


def fit(
    model: nn.Module,
    images: Images,
    maps: dict[str, Tensor] | None,
    optim_wrapper: dict,
    epochs: int,
    batch: int = RECIPE_BATCH,
    seed: int = 0,
    compile_model: bool = False,
) -> None:
    """Train a classifier with a one-cycle rate, in bfloat16 on a GPU.

    Args:
        model: :class:`mmtl.TokenLabelClassifier`, or MMPretrain's ImageClassifier, which is trained on class labels.
        images: the training set, on the model's device.
        maps: fields of a batch of score maps, all images of the training set; None: class labels only.
        optim_wrapper: its config, as in a recipe.
        epochs: epochs; incomplete batches are left out.
        batch: images per step; the square root of its ratio to the recipe's scales the learning rate.
        seed: seed of all draws.
        compile_model: whether to compile the losses.
    """
    device = images.pixels.device
    draws = seeded(seed)
    config = dict(optim_wrapper, optimizer=dict(optim_wrapper["optimizer"]))
    config["optimizer"]["lr"] *= (batch / RECIPE_BATCH) ** 0.5
    optimizer = build_optim_wrapper(model, config).optimizer
    steps = epochs * (len(images.labels) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=[group["lr"] for group in optimizer.param_groups], total_steps=steps
    )
    if compile_model and hasattr(model, "compile_training"):
        model.compile_training()
    model.train()
    for _ in range(epochs):
        order = torch.from_numpy(draws.permutation(len(images.labels))).to(device)
        for chosen in order.split(batch):
            if len(chosen) < batch:
                continue
            views = draw_views(batch, draws)
            data = dict(inputs=crop(images.pixels[chosen], views), labels=images.labels[chosen])
            if maps is not None:
                data |= {name: values[chosen] for name, values in maps.items()} | {"view_affine": views}
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = loss_of(model, data)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()


def seeded(seed: int) -> np.random.Generator:
    """Seed PyTorch and NumPy, which draws for the batch augments, and return a generator for the crops."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    return np.random.default_rng(seed)


def loss_of(model: nn.Module, data: dict[str, Tensor]) -> Tensor:
    """Return the loss of a batch."""
    if hasattr(model, "compile_training"):
        return sum(
            value
            for name, value in model(**model.data_preprocessor(data, True), mode="loss").items()
            if "loss" in name
        )
    logits = model(model.data_preprocessor({"inputs": data["inputs"]})["inputs"], mode="tensor")
    return F.cross_entropy(logits.float(), data["labels"])


@torch.no_grad()
def top1(model: nn.Module, images: Images, batch: int = 500) -> float:
    """Return the accuracy in percent."""
    model.eval()
    correct = 0
    for pixels, labels in zip(images.pixels.split(batch), images.labels.split(batch), strict=True):
        logits = model(model.data_preprocessor({"inputs": pixels})["inputs"], mode="tensor")
        correct += (logits.argmax(1) == labels).sum()
    return 100 * float(correct) / len(images.labels)
