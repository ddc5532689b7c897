"""Memory: glibc told to keep the memory it frees, and how much a process held at its peak.

By default glibc maps every large block anew and gives it back at once, so that a network on a CPU spends
more than half of its time in the kernel on page faults: 2.0 to 2.5 times the CPU time, measured. Cost:
freed memory stays with the process until it ends. Elsewhere than on glibc, where TWEENLET_KEEP_MEMORY=0 is
set, and where the user's environment sets these values of glibc's, nothing is done.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h>
LIBC = {"mallopt": (ctypes.c_int, ctypes.c_int), "malloc_trim": (ctypes.c_size_t,)}
"""What these functions take."""


def _libc(name: str) -> Callable[..., int]:
    """A function of glibc's, of integers. AttributeError elsewhere."""
    function = ctypes.CDLL(None)[name]
    function.argtypes, function.restype = LIBC[name], ctypes.c_int
    return function


@cache
def keep_freed() -> bool:
    """Keep freed memory in the process from now on; whether that could be arranged."""
    if (
        not sys.platform.startswith("linux")
        or os.environ.get("TWEENLET_KEEP_MEMORY") == "0"
        or {"MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"} & os.environ.keys()
    ):
        return False
    try:
        mallopt = _libc("mallopt")
    except AttributeError:  # musl has none
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))


def trim() -> None:
    """Give freed memory back to the system, where the C library can."""
    with suppress(AttributeError):
        _libc("malloc_trim")(0)


def peak() -> int:
    """The most bytes of memory that this process has held at once, by Linux's VmHWM; OSError elsewhere.

    Not ru_maxrss, in which a process begins at what its parent held.
    """
    return _told("VmHWM")


def resident() -> int:
    """The bytes of memory that this process holds now, by Linux's VmRSS; OSError elsewhere."""
    return _told("VmRSS")


def _told(name: str) -> int:
    told = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if told is None:
        raise OSError(f"this system does not tell {name} of a process")
    return 1024 * int(told[1])
