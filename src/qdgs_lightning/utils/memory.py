"""Keeping freed memory, which makes image work on the CPU up to four times as fast."""

import ctypes
import sys

# Parameters of mallopt(3), from malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory(reserve: int = 2**31 - 1) -> bool:
    """Tell glibc to reuse large freed blocks instead of returning them to the kernel.

    By default every tensor of some megabytes is mapped, zeroed page by page, and unmapped again.
    Drawing 64 shapes took 2.5 ms an image that way and 0.65 ms with memory kept.

    Args:
        reserve: Free bytes at the end of the heap that stay with the process.

    Returns:
        Whether the C library took the advice; elsewhere than on Linux with glibc it does not.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, reserve))
