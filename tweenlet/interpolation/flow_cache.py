"""Flow cache: motion between pairs of frames of one stream, found once and known by the frames' numbers.

    windows     0 1 2 3          flow of    1->0  1->2  2->1  2->3
                  1 2 3 4                         2->1  2->3  3->2  3->4      half of them known already

What is found, and for which pairs, a :class:`PairMotion` says; a stream has a cache of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.flow.dis import PAIRS, Pair, dis, fill_in, flows_for, needed_pairs
from tweenlet.inference.cuda_graphs import Recordings

CAPACITY = 12
"""Pairs that are remembered: enough for streams that become four times as dense."""
MAX_BYTES = 2**29
"""Memory that remembered motion may take: flows of seven pairs of 4K frames. One window always fits."""
TOGETHER = 2
"""Pairs whose motion is looked for at once: a window of a stream brings so many new ones."""


class PairMotion(Protocol):
    """A way to find the motion between pairs of frames, and what a network is given of it."""

    def pairs(self, window: Sequence[Tensor]) -> list[Pair]:
        """Which pairs of a window of four frames (3, H, W) it needs, by their places in the window."""

    def find(self, window: Sequence[Tensor], pairs: Sequence[Pair]) -> dict[Pair, Tensor]:
        """The motion between some pairs of the window."""

    def assemble(self, motion: Mapping[Pair, Tensor]) -> list[Tensor]:
        """What the network is given, from the motion of the window's pairs."""

    def fit(self, motion: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """The same, (N, 2, h, w), for a window that was padded to a ``size``."""


class ClassicalFlow:
    """Optical flow (2, H, W) in pixels by :mod:`tweenlet.flow.dis`; on a CUDA device replayed as a graph."""

    def __init__(self) -> None:
        self._replayed = Recordings(dis)
        self._lock = Lock()  # a graph has one set of inputs

    def pairs(self, window: Sequence[Tensor]) -> list[Pair]:
        """Of `flow.dis.PAIRS` those that do not lead to a frame that only repeats its neighbour."""
        return needed_pairs(window)

    def find(self, window: Sequence[Tensor], pairs: Sequence[Pair]) -> dict[Pair, Tensor]:
        """Flow between some pairs, on the CPU or on a CUDA device, as the frames are."""
        if not window[0].is_cuda:
            return flows_for(window, pairs, dis)
        with self._lock:
            return flows_for(window, pairs, self._replayed)

    def assemble(self, motion: Mapping[Pair, Tensor]) -> list[Tensor]:
        """The four flows of `flow.dis.PAIRS`."""
        return fill_in(motion)

    def fit(self, motion: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """The flows, going on beyond the borders of their frames."""
        flows = torch.stack(list(motion))
        beyond = (0, size[1] - flows.shape[-1], 0, size[0] - flows.shape[-2])
        return F.pad(flows, beyond, "replicate")


class FlowCache:
    """Finds the motion of the windows of one stream, and remembers that of the latest pairs.

    Args:
        motion: how it is found.
        capacity: how many pairs are remembered, if MAX_BYTES are enough for them.

    """

    def __init__(self, motion: PairMotion, capacity: int = CAPACITY) -> None:
        self._motion, self._capacity = motion, capacity
        self._known: OrderedDict[tuple[Fraction | int, Fraction | int], Tensor] = OrderedDict()

    def __len__(self) -> int:
        """How many pairs are remembered."""
        return len(self._known)

    def window(
        self,
        frames: Sequence[Tensor],
        numbers: Sequence[Fraction | int],
        time: Fraction | float = 0.5,  # noqa: ARG002
    ) -> list[Tensor]:
        """What a network is given of the motion in a window of four frames (3, H, W), whatever the time.

        ``numbers`` are those of the frames in the stream: the same number is always the same frame.
        """
        pairs = self._motion.pairs(frames)
        keys = {pair: (numbers[pair[0]], numbers[pair[1]]) for pair in pairs}
        missing = [pair for pair in pairs if keys[pair] not in self._known]
        with torch.inference_mode():
            for k in range(0, len(missing), TOGETHER):
                for pair, motion in self._motion.find(frames, missing[k : k + TOGETHER]).items():
                    self._known[keys[pair]] = motion.clone()  # found together, they are let go one by one
        for key in keys.values():
            self._known.move_to_end(key)
        found = {pair: self._known[key] for pair, key in keys.items()}
        capacity = min(self._capacity, max(len(PAIRS), MAX_BYTES // next(iter(found.values())).nbytes))
        while len(self._known) > capacity:
            self._known.popitem(last=False)
        return self._motion.assemble(found)
