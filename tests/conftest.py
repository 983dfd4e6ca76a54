"""What every test starts from."""

import multiprocessing
from collections.abc import Iterator

import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def no_default_scope() -> Iterator[None]:
    """A Runner leaves its scope behind, and the next test would look for its types there."""
    before = DefaultScope._instance_dict.copy()
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


@pytest.fixture(scope="session")
def processes() -> multiprocessing.context.ForkServerContext:
    """Starts processes from one that has computed nothing: a fork of this one would wait for threads left behind."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mmtl.models", "mmtl.score_maps.make", "mmpretrain.models"])
    return context
