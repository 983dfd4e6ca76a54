"""A function runs when a module of a package is imported, exactly once, and imports nothing itself."""

import importlib.util
import sys

import pytest

from mmtl.utils.after_import import run_after_import

called: list[tuple[str, int]] = []


def note(module) -> None:
    called.append((module.__name__, module.value))


@pytest.fixture
def package(tmp_path, monkeypatch) -> str:
    called.clear()
    (tmp_path / "imported_later").mkdir()
    (tmp_path / "imported_later" / "__init__.py").write_text("")
    (tmp_path / "imported_later" / "part.py").write_text("value = 7")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield "imported_later.part"
    for name in ("imported_later", "imported_later.part"):
        sys.modules.pop(name, None)


def test_the_function_gets_the_complete_module_once(package):
    finders = len(sys.meta_path)
    run_after_import(package, f"{__name__}:note")
    assert not called and package not in sys.modules
    assert importlib.util.find_spec(package) and not called  # looking for a module does not import it
    module = importlib.import_module(package)
    assert called == [(package, 7)] and len(sys.meta_path) == finders
    importlib.reload(module)
    assert len(called) == 1


def test_it_runs_at_once_for_a_module_that_is_imported(package):
    importlib.import_module(package)
    run_after_import(package, f"{__name__}:note")
    assert called == [(package, 7)]


def test_another_module_of_the_package_is_none_of_its_business(package):
    run_after_import(package, f"{__name__}:note")
    importlib.import_module("imported_later")
    assert not called
