"""Messages of other packages that are harmless here or too long for a screen, each by its text (standard library).

``mmtl/__init__.py`` ignores the warnings, unless ``python -W`` asks for them, and has MMEngine's loggers hide the
records from the screen at every level but DEBUG. The log file of a run keeps all records.
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
    "For binary segmentation, we suggest using",  # two classes with two outputs are as good
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
    'Failed to search registry with scope "mm\\w+" in the "\\w+" registry tree',  # what it finds instead is right
    r"Loads checkpoint by \w+ backend",
    "Load checkpoint from unwrapped:",  # a scheme of mmtl; the box and the command have the file
)
PRINTED = (
    "Could not import OneDL",  # a data source of the OneDL packages that needs another package
    "Loads checkpoint by ",
)
# Missing weights of heads are not a warning: pretrained weights have a head for other classes, or no head.
HEAD = r"((?:model\.)?(?:classifier|head|fc|last_linear|neck|decode_head|auxiliary_head))\.[\w.]+"
ONLY_HEADS = re.compile(
    r"The model and loaded state dict do not match exactly\s+missing keys in source state_dict: "
    rf"{HEAD}(?:, {HEAD})*\s*"
)
_HIDDEN = re.compile("|".join(RECORDS))


def ignore_harmless_warnings() -> None:
    """Ignore `WARNINGS` in this process, unless options of Python select warnings."""
    for message in () if sys.warnoptions else WARNINGS:
        warnings.filterwarnings("ignore", message=message)


def adapt_logging(logger: ModuleType) -> None:
    """Change ``mmengine.logging.logger``, once imported.

    Names are printed as data, `PRINTED` is not printed, and loggers hide `RECORDS` from the screen.
    """
    escape_log_messages(logger)
    print_log, initialize = logger.print_log, logger.MMLogger.__init__

    @functools.wraps(initialize)
    def initialize_and_hide(self: logging.Logger, *args: Any, **kwargs: Any) -> None:
        initialize(self, *args, **kwargs)
        hide_from_screen(self)

    logger.MMLogger.__init__ = initialize_and_hide

    @functools.wraps(print_log)
    def print_unless_harmless(msg: object, *args: Any, **kwargs: Any) -> None:
        is_logged = args or kwargs.get("logger")
        if is_logged or not str(msg).startswith(PRINTED):
            print_log(msg, *args, **kwargs)

    logger.print_log = print_unless_harmless
    package = sys.modules.get(logger.__package__)
    if getattr(package, "print_log", None) is print_log:  # imported before mmtl
        package.print_log = print_unless_harmless


def hide_from_screen(logger: logging.Logger) -> None:
    """Keep `RECORDS` out of what a logger writes to the screen, unless its level is DEBUG."""
    for handler in logger.handlers:
        is_screen = isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
        if is_screen and handler.level != logging.DEBUG:
            handler.addFilter(_is_shown)


def _is_shown(record: logging.LogRecord) -> bool:
    if ONLY_HEADS.fullmatch(message := record.getMessage()):
        heads = ", ".join(dict.fromkeys(re.findall(HEAD, message.partition(": ")[2])))
        record.levelno, record.levelname, record.args = logging.INFO, "INFO", ()
        record.msg = f"Trained from scratch, as intended: {heads} (the loaded weights have none)."
    return not _HIDDEN.match(record.getMessage())
