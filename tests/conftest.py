"""What every test starts from."""

import multiprocessing

import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def no_default_scope() -> None:
    """A Runner leaves its scope behind (a fixture of a whole module, too); the test would look for its types there."""
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope="session")
def processes() -> multiprocessing.context.ForkServerContext:
    """Starts processes from one that has computed nothing: a fork of this one would wait for threads left behind."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mmtl.models", "mmtl.annotators.make_store", "mmpretrain.models"])
    return context
