"""Memory of training on a CPU."""

import ctypes

# glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
NEVER = -1
GROWTH_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, and return whether its C library can.

    By default glibc returns large blocks to the system, which clears them again for the next step. That takes up to a
    third of the processor time of a small model's training. Elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    options = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: NEVER, M_TOP_PAD: GROWTH_BYTES}
    return mallopt is not None and all(mallopt(name, value) for name, value in options.items())
