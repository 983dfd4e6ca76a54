"""Freed memory is used again, without asking the system for pages."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from mmtl.engine.freed_memory import keep_freed_memory
assert sys.argv[1] == "default" or keep_freed_memory()
def step():
    return torch.ones(2**23).sum()
for _ in range(20):  # the heap grows a few times before blocks are used again
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's allocator")
def test_steps_that_allocate_the_same_tensors_ask_for_few_pages():
    run = [sys.executable, "-c", SCRIPT]
    kept, default = (int(subprocess.check_output([*run, way])) for way in ("keep", "default"))
    assert kept < default / 10
