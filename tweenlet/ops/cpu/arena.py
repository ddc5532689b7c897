"""Arena: one contiguous block of memory for the large tensors of inference on a CPU.

    pixels --> the first gap that is large enough --> tensor --freed--> a gap again, merged with neighbours

glibc puts each tensor into the smallest gap that fits; small blocks go into the others, and the next tensor
of the same size no longer fits there. A network then took a third more than its tensors, and a varying
amount. Freed memory stays with the process, as in :mod:`tweenlet.runtime.malloc`.
"""

from __future__ import annotations

import math
import mmap
import os
import sys
import weakref
from collections import deque
from functools import cache
from threading import Lock

import torch
from torch import Tensor

from tweenlet.ops.cpu.library import library
from tweenlet.runtime.malloc import retain_freed_memory

SMALLEST = 1 << 20
"""Smallest tensor, in bytes, placed in the arena; smaller ones stay with malloc."""
_NORESERVE = 0x4000  # Linux's MAP_NORESERVE: what is only reserved is not in the way of a fork


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """As ``torch.empty``."""
    size = math.prod(shape) * dtype.itemsize
    arena = (
        device.type == "cpu" and size >= SMALLEST and not torch.compiler.is_compiling() and _process_arena()
    )
    block = arena.take(size) if arena else None
    return torch.empty(shape, dtype=dtype, device=device) if block is None else block.view(dtype).view(shape)


def empty_channels_last(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """As ``torch.empty``, for (B, C, ...), channels_last."""
    batch, channels, *rest = shape
    return empty((batch, *rest, channels), dtype, device).movedim(-1, 1)


@cache
def _process_arena() -> Arena | None:
    """The arena of this process, as large as the machine's memory; None if freed memory is not retained.

    Also None without native code, because PyTorch then allocates most large tensors itself.
    """
    if sys.platform == "win32" or not retain_freed_memory() or library() is None:
        return None
    try:
        return Arena(os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE)
    except (OSError, OverflowError, ValueError):  # this process may not have so many addresses
        return None


def _reserve(size: int) -> memoryview:
    if sys.platform == "win32":
        raise OSError("Windows takes the memory that it is asked to reserve")
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE))


class Arena:
    """Reserves ``size`` bytes of address space; pages are committed on first use."""

    def __init__(self, size: int):
        self._memory = _reserve(size)
        self._gaps = [(0, size)]  # start and size, in order; none touches the next
        self._freed: deque[tuple[int, int]] = deque()  # by whatever thread, at any moment
        self._lock = Lock()

    def take(self, size: int) -> Tensor | None:
        """Allocate ``size`` bytes, uint8, freed with their last reference; None if no gap is large enough."""
        pages = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        with self._lock:
            while self._freed:
                self._join(*self._freed.popleft())
            for number, (start, room) in enumerate(self._gaps):
                if room >= pages:
                    self._gaps[number : number + 1] = [(start + pages, room - pages)] if room > pages else []
                    break
            else:
                return None
        block = self._memory[start : start + size]
        weakref.finalize(block, self._freed.append, (start, pages)).atexit = False
        return torch.frombuffer(block, dtype=torch.uint8)

    def _join(self, start: int, size: int) -> None:
        """Add a gap, merged with its neighbours."""
        after = next((n for n, gap in enumerate(self._gaps) if gap[0] > start), len(self._gaps))
        before = after
        if after < len(self._gaps) and self._gaps[after][0] == start + size:
            size += self._gaps[after][1]
            after += 1
        if before and sum(self._gaps[before - 1]) == start:
            before -= 1
            start, size = self._gaps[before][0], size + self._gaps[before][1]
        self._gaps[before:after] = [(start, size)]
