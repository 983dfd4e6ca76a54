"""Messages of other packages that are harmless here or too long for a screen, each by its text (standard library).

``mmtl/__init__.py`` ignores the warnings, unless ``python -W`` asks for them, and mmtl's Runner hides the log records
from the screen at every level but DEBUG. The log file of a run keeps all records.
"""

import functools
import logging
import re
import sys
import warnings
from types import ModuleType
from typing import Any

from mmtl.utils.text import escape_log_messages

# Regular expressions for the start of a message.
WARNINGS = (
    "Fail to import ``MultiScaleDeformableAttention``",  # mmcv-lite: no model here needs mmcv's compiled operators
    "'pin_memory' argument is set as true but no accelerator",  # on a CPU it has no effect
    "Default ``avg_non_ignore`` is False",  # MMSegmentation's default of its own loss
)
RECORDS = (
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    "Distributed training is not used, all SyncBatchNorm",
    "The prefix is not set in metric class",
    r"\S+ is skipped since its requires_grad=False",
    r"\n-+\nSystem environment:",
    "Config:\n",  # also in the folder of the run
    "Hooks will be executed in the following order:",
)
PRINTED = "Could not import OneDL"  # a data source of the OneDL packages that needs another package
_HIDDEN = re.compile("|".join(RECORDS))


def ignore_harmless_warnings() -> None:
    """Ignore `WARNINGS` in this process, unless options of Python select warnings."""
    for message in () if sys.warnoptions else WARNINGS:
        warnings.filterwarnings("ignore", message=message)


def adapt_logging(logger: ModuleType) -> None:
    """Change ``mmengine.logging.logger``, once imported: names are printed as data, and `PRINTED` is not."""
    escape_log_messages(logger)
    print_log = logger.print_log

    @functools.wraps(print_log)
    def print_unless_harmless(msg: object, *args: Any, **kwargs: Any) -> None:
        if msg != PRINTED:
            print_log(msg, *args, **kwargs)

    logger.print_log = print_unless_harmless
    package = sys.modules.get(logger.__package__)
    if getattr(package, "print_log", None) is print_log:  # imported before mmtl
        package.print_log = print_unless_harmless


def hide_from_screen(logger: logging.Logger) -> None:
    """Keep `RECORDS` out of what a logger writes to the screen."""
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.addFilter(_is_shown)


def _is_shown(record: logging.LogRecord) -> bool:
    return not _HIDDEN.match(record.getMessage())
