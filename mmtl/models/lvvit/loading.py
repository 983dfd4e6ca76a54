"""Check that a checkpoint fits an LVViT, and report what it gives."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from mmtl.models.lvvit.arch import arch_of_weights, describe_arch
from mmtl.utils.checkpoint import shorten

RELEASED_BLOCKS = ("blocks.", "network.")  # LV-ViT's and VOLO's
CONVERT_FIRST = "These are released names: convert them first with `mim run mmtl convert_checkpoint SRC DST`."


def nothing_to_load(found: Iterable[str], example: str, remedy: str) -> ValueError:
    """Return the error for a checkpoint without any weight of a backbone; released names have their own remedy."""
    found = list(found)
    if any(name.startswith(RELEASED_BLOCKS) for name in found):
        remedy = CONVERT_FIRST
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


def check_converted(given: Mapping[str, Tensor], prefix: str) -> None:
    """Raise an error for a released classifier that has not been converted: none of its names would be found."""
    found = arch_of_weights(given, prefix)
    if found or any(name.startswith(f"{prefix}network.") for name in given):
        kind = describe_arch(found) if found else "a VOLO"
        raise ValueError(f"The checkpoint is {kind} with {shorten(given, 3)}. {CONVERT_FIRST}")
