"""Create a timm model by name, with the options that it has."""

import difflib
import logging
import re
from contextlib import suppress
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmtl.utils.import_timm import import_timm
from mmtl.utils.text import in_line


def create_timm_model(name: str, optional: dict[str, Any], options: dict[str, Any]) -> nn.Module:
    """Build a timm model without classifier.

    Args:
        name: timm's name.
        optional: options that are omitted if the model does not have them.
        options: other options.
    """
    timm = import_timm(name)
    if ":" not in name:
        _check_name(name)
    if "num_classes" in options:
        raise ValueError(f"num_classes is set in the head, not in the backbone {name}. Use model.head.num_classes.")
    optional = dict(optional)
    while True:
        try:
            return timm.create_model(name, num_classes=0, **optional, **options)
        except TypeError as error:
            # Unknown options, or those that timm sets itself ("multiple values for keyword argument").
            refused = re.findall(r"'(\w+)'", str(error).partition("keyword argument")[2])
            if not refused:
                raise
            if unknown := [option for option in refused if option not in optional]:
                raise ValueError(f"{', '.join(unknown)} is not an option of timm's {name}. Remove it.") from None
            if "drop_path_rate" in refused:
                message = f"{name} has no drop path: drop_path_rate is not used."
                print_log(message, logger="current", level=logging.WARNING)
            optional = {option: value for option, value in optional.items() if option not in refused}
        except (OSError, RuntimeError) as error:
            if not options["pretrained"] and ":" not in name:
                raise
            raise OSError(
                f"The weights or settings of {name} cannot be loaded: {in_line(str(error))} "
                "Download the weights by hand, and set checkpoint=FILE beside timm's model_name."
            ) from None


def _check_name(name: str) -> None:
    """Check that timm has a model, and the weights' tag after the dot."""
    import timm

    with suppress(RuntimeError):  # of an unknown tag
        if timm.is_model(name) and timm.get_pretrained_cfg(name):
            return
    arch = name.partition(".")[0]
    known = timm.list_models(f"{arch}.*", pretrained=True) if timm.is_model(arch) else timm.list_models()
    similar = ", ".join(difflib.get_close_matches(name, known, n=5, cutoff=0.4))
    closest = f"Closest: {similar}." if similar else "timm.list_models() lists them."
    raise ValueError(f"model_name must be one of timm's models, got {name!r}. {closest}")
