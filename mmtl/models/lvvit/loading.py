"""What a checkpoint gives to an LVViT, in words."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from mmtl.models.lvvit.arch import arch_of_weights, describe_arch


def report_loaded(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], prefix: str = "") -> str:
    """Say which weights of a backbone are in a checkpoint, or refuse one that has none or of other shapes.

    Args:
        wanted: the backbone's own weights by name.
        given: the checkpoint's weights by name.
        prefix: what stands before the backbone's names in the checkpoint, such as 'backbone.'.

    Returns:
        str: one line for the log; empty if the checkpoint has nothing under the prefix.

    Raises:
        ValueError: if no name is one of the backbone's, a weight has another shape, or blocks have other parts.
    """
    names = [name.removeprefix(prefix) for name in given if name.startswith(prefix)]
    if not names:
        return ""
    found = [name for name in names if name in wanted]
    if not found:
        raise ValueError(
            f"nothing to load: the checkpoint has {_listed(names, 3)}, but no weight of an LVViT such as "
            f"{next(iter(wanted))}: give prefix='backbone.' for the checkpoint of a whole model, and rename "
            "released weights with `mim run mmtl convert_checkpoint SRC DST`"
        )
    shapes = {name: (tuple(given[prefix + name].shape), tuple(wanted[name].shape)) for name in found}
    others = [f"{name} {has}, wanted {wants}" for name, (has, wants) in shapes.items() if has != wants]
    if others:
        raise ValueError(
            f"the checkpoint's backbone does not fit this LVViT (another patch size or other blocks?): "
            f"{_listed(others, 3)}: build the model of the checkpoint or take another checkpoint"
        )
    missing, left_out = sorted(wanted.keys() - found), [name for name in names if name not in wanted]
    for verb, others, whose in (("lacks", missing, "has"), ("has", left_out, "lacks")):
        parts = [name for name in others if name.startswith("blocks.")]
        if parts and any(name.startswith("blocks.") for name in names):
            raise ValueError(
                f"the checkpoint's backbone {verb} {_listed(parts, 3)}, which this LVViT {whose}: "
                "build it with the blocks and qkv_bias of the checkpoint or take another checkpoint"
            )
    return (
        f"{len(found)} of {len(wanted)} weights loaded; not in the checkpoint: {_listed(missing, 6)}; "
        f"left out of it: {_listed(left_out, 6)}"
    )


def check_finite(given: Mapping[str, Tensor], prefix: str = "") -> None:
    """Refuse weights that are NaN or infinite.

    Args:
        given: the checkpoint's weights by name.
        prefix: only names that begin so are looked at.

    Raises:
        ValueError: with the name of the first such weight.
    """
    for name, value in given.items():
        # Weights on the meta device have shapes and no values.
        if name.startswith(prefix) and value.is_floating_point() and not value.is_meta and not value.isfinite().all():
            raise ValueError(
                f"{name} of the checkpoint holds NaN or infinite values: it is damaged, or its training diverged; "
                "take another one"
            )


def check_converted(given: Mapping[str, Tensor], prefix: str = "") -> None:
    """Refuse a released classifier that has not been converted: none of its names would be found.

    Args:
        given: the checkpoint's weights by name.
        prefix: what stands before a whole classifier's names in the checkpoint.

    Raises:
        ValueError: if the names are the released ones.
    """
    if found := arch_of_weights(given, prefix):
        raise ValueError(
            f"the checkpoint is {describe_arch(found)} under its released names ({_listed(given, 3)}): "
            "convert it first with `mim run mmtl convert_checkpoint SRC DST`"
        )


def _listed(names: Iterable[str], limit: int) -> str:
    names = list(names)
    return ", ".join([*names[:limit], *[f"{len(names) - limit} more"] * (len(names) > limit)]) or "nothing"
