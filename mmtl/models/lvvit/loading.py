"""Convert released weights while they are loaded, check that a checkpoint fits, and report what it gives."""

from collections.abc import Iterable, Mapping, MutableMapping

from mmengine.logging import print_log
from torch import Tensor, nn

from mmtl.models.lvvit.released_weights import convert_released
from mmtl.utils.checkpoint import check_finite
from mmtl.utils.text import in_line, shorten

RELEASED_BLOCKS = ("blocks.", "network.")  # LV-ViT's and VOLO's


def nothing_to_load(found: Iterable[str], example: str, remedy: str) -> ValueError:
    """Return the error for a checkpoint without any weight of a backbone."""
    found = list(found)
    return ValueError(
        f"Nothing to load: the checkpoint has {shorten(found, 3)}, but no weight of the backbone such as {example}. "
        f"{remedy}"
    )


def report_loaded(
    expected: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    prefix: str,
    model: str = "LVViT",
    blocks: str = "blocks.",
) -> str:
    """Return a line for the log about which of a backbone's weights a checkpoint has under a prefix; empty if none.

    A checkpoint without any of the backbone's names, with other shapes, or with blocks of other parts is an error.
    ``blocks`` is the prefix of the blocks' names.
    """
    names = [name.removeprefix(prefix) for name in given if name.startswith(prefix)]
    if not names:
        return ""
    found = [name for name in names if name in expected]
    if not found:
        remedy = "Set prefix='backbone.' in init_cfg for the checkpoint of a complete model."
        raise nothing_to_load(names, next(iter(expected)), remedy)
    shapes = {name: (tuple(given[prefix + name].shape), tuple(expected[name].shape)) for name in found}
    if wrong := [f"{name} {has}, expected {needs}" for name, (has, needs) in shapes.items() if has != needs]:
        raise ValueError(
            f"The checkpoint's backbone does not fit this {model}: {shorten(wrong, 3)}. Build the model that the "
            "checkpoint was trained with (patch size, blocks) or use another checkpoint."
        )
    missing, unexpected = sorted(expected.keys() - found), [name for name in names if name not in expected]
    has_blocks = any(name.startswith(blocks) for name in names)
    for verb, others, opposite in (("lacks", missing, "has"), ("has", unexpected, "lacks")):
        parts = [name for name in others if name.startswith(blocks)]
        if parts and has_blocks:
            raise ValueError(
                f"The checkpoint's backbone {verb} {shorten(parts, 3)}, which this {model} {opposite}. "
                "Build it with the blocks and qkv_bias of the checkpoint or use another checkpoint."
            )
    return (
        f"{len(found)} of {len(expected)} weights loaded; missing keys: {shorten(missing) or 'none'}; "
        f"unexpected keys: {shorten(unexpected) or 'none'}"
    )


def convert_loaded(weights: MutableMapping[str, Tensor], expected: Iterable[str], prefix: str = "") -> bool:
    """Convert released names under a prefix in place; return whether there were any, of a model like the expected."""
    given = {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
    blocks = {f"backbone.{name}" for name in given if name.startswith(RELEASED_BLOCKS)}
    if blocks.isdisjoint(expected) and not any(name.startswith("backbone.side_layer") for name in given):
        return False
    converted = convert_released(given)
    for name in given:
        del weights[prefix + name]
    weights.update((prefix + name, weight) for name, weight in converted.items())
    print_log(
        f"Converted {len(given)} weights from released names, such as {in_line(next(iter(given)))}.", logger="current"
    )
    return True


def prepare_loaded(model: nn.Module, weights: MutableMapping[str, Tensor], prefix: str) -> None:
    """Convert the released weights of a model, and refuse a checkpoint that does not fit around the backbone.

    The backbone checks its own. Missing and unexpected weights are errors if the checkpoint has released names:
    for all others MMEngine and PyTorch report them.
    """
    expected = model.state_dict()
    is_released = convert_loaded(weights, expected, prefix)
    if not is_released:  # converting has checked it
        check_finite(weights, prefix)
    given = {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
    if given and expected.keys().isdisjoint(given):
        raise nothing_to_load(given, next(iter(expected)), "Use a checkpoint of a complete model of this project.")
    if hasattr(model.backbone, "check_loaded_arch"):  # names the model, which the shapes of a head do not
        model.backbone.check_loaded_arch(weights, f"{prefix}backbone.")
    has, needs = (
        {name: tuple(weight.shape) for name, weight in each.items() if not name.startswith("backbone.")}
        for each in (given, expected)
    )
    wrong = [f"{name} {has[name]}, expected {needs[name]}" for name in has.keys() & needs if has[name] != needs[name]]
    if is_released:
        wrong += [f"{name} is missing" for name in needs if name not in has]
        wrong += [f"{name} is unexpected" for name in has if name not in needs]
    if wrong:
        raise ValueError(
            f"The checkpoint does not fit this model: {shorten(sorted(wrong), 3)}. Build the model that it was "
            "trained with, such as its number of classes. To fine-tune it on other classes, set load_from to "
            "it: a training takes what fits, by mmtl.PretrainedWeightsHook."
        )
