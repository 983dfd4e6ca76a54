"""Fixtures of all tests."""

import multiprocessing
import signal

import pytest
from mmengine.registry import DefaultScope

# A shell starts background jobs with Ctrl-C ignored, and the programs that tests start and stop would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_default_scope() -> None:
    """Reset mmengine's default scope, which earlier Runners and module fixtures leave set."""
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope="session")
def processes() -> multiprocessing.context.ForkServerContext:
    """Return a fork server: a process forked from a multithreaded test process could deadlock."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mmtl.models", "mmtl.annotators.make_store", "mmpretrain.models"])
    return context
