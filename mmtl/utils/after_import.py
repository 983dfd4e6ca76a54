"""Run a function when a module is imported, without importing it (standard library only)."""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


def run_after_import(module: str, function: str) -> None:
    """Call a function with a module as soon as it is imported, at once if it already is.

    Args:
        module: Dotted name of a module in a package.
        function: ``package.module:function``; its module is imported when the function is called.
    """
    imported = sys.modules.get(module)
    if imported is None or getattr(imported.__spec__, "_initializing", False):
        sys.meta_path.insert(0, _Finder(module, function))
    else:
        _call(function, imported)


class _Finder(MetaPathFinder):
    """Find one module as Python does, with a loader that calls the function once afterwards."""

    def __init__(self, module: str, function: str) -> None:
        self.module, self.function = module, function

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the module's spec, or None for all other modules."""
        spec = PathFinder.find_spec(name, path, target) if name == self.module else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_call(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                _call(self.function, module)

        spec.loader.exec_module = execute_and_call
        return spec


def _call(function: str, module: ModuleType) -> None:
    name, _, attribute = function.partition(":")
    getattr(importlib.import_module(name), attribute)(module)
