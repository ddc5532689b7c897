"""Flows: classical optical flow for the windows of a stream, found once for each pair of frames.

    windows     a b c d          flow of    b->a  b->c  c->b  c->d
                  b c d e                         c->b  c->d  d->c  d->e      half of them known already

Frames are told apart by identity: a stream passes the same tensors again from window to window. On a CUDA
device both flows of a pair are found at once, by a recording: one of them is for the next window.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cache

import torch
from torch import Tensor

from tweenlet.ops.dis import PAIRS, dis, four_flows, grey, luma
from tweenlet.ops.search import search
from tweenlet.recordings import Recordings

KEPT_BYTES = 2**29
"""What the flows that are kept may take: seven of 4K frames. But those of one window are always kept."""


class Flows:
    """Finds the flows of windows and keeps the latest few: twelve serve streams four times as dense.

    (On a CUDA device for each of these also its way back.)
    """

    def __init__(self, kept: int = 12) -> None:
        self._kept = kept
        self._search = Recordings(search)
        self._known: OrderedDict[tuple[int, int], tuple[Tensor, Tensor, Tensor]] = OrderedDict()

    def __call__(self, frames: Sequence[Tensor]) -> Tensor:
        """Flows (1, 4, 2, H, W) in pixels of four frames (3, H, W), as `ops.dis.window_flows` finds them.

        What is known of a pair of frames is known by their identity.
        """
        return torch.stack(self.four(frames)).unsqueeze(0).to(frames[0].device)

    def four(self, frames: Sequence[Tensor]) -> list[Tensor]:
        """The same flows one by one, (2, H, W) each, on the CPU or on a CUDA device, as the frames are."""
        on_device = frames[0].is_cuda
        luma_of, grey_of = cache(lambda i: luma(frames[i])), cache(lambda i: grey(frames[i]))

        def found(a: int, b: int) -> Iterator[tuple[int, int, Tensor]]:
            if on_device:
                one, other = luma_of(a), luma_of(b)
                ways = self._search(torch.stack((one, other)), torch.stack((other, one)))
                ahead, back = (way.clone() for way in ways)  # each to be let go alone
                yield b, a, back
                yield a, b, ahead
            else:
                yield a, b, dis(grey_of(a), grey_of(b))

        def find(a: int, b: int) -> Tensor:
            key = id(frames[a]), id(frames[b])
            if key not in self._known:  # the frames stay alive with it, so that their ids stay theirs
                for first, second, flow in found(a, b):
                    pair = frames[first], frames[second]
                    self._known[id(pair[0]), id(pair[1])] = *pair, flow
            self._known.move_to_end(key)
            return self._known[key][2]

        flows = four_flows(frames, find)
        most, least = (2 * self._kept, 2 * (len(frames) - 1)) if on_device else (self._kept, len(PAIRS))
        kept = min(most, max(least, KEPT_BYTES // flows[0].nbytes))
        while len(self._known) > kept:
            self._known.popitem(last=False)
        return flows
