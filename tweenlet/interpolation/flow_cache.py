"""Flows: classical optical flow for the windows of a stream, found once for each pair of frames.

    windows     a b c d          flow of    b->a  b->c  c->b  c->d
                  b c d e                         c->b  c->d  d->c  d->e      half of them known already

Frames are told apart by identity: a stream passes the same tensors again from window to window.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from tweenlet.flow.dis import PAIRS, Pair, asked, between, dis, four
from tweenlet.recordings import Recordings

KEPT_BYTES = 2**29
"""What the flows that are kept may take: seven of 4K frames. But those of one window are always kept."""
TOGETHER = 2
"""Pairs whose flow is looked for at once: a window of a stream brings so many new ones."""


class Flows:
    """Finds the flows of windows and keeps the latest few: twelve serve streams four times as dense."""

    def __init__(self, kept: int = 12) -> None:
        self._kept = kept
        self._recorded = Recordings(dis)
        self._known: OrderedDict[tuple[int, int], tuple[Tensor, Tensor, Tensor]] = OrderedDict()

    def __call__(self, frames: Sequence[Tensor]) -> Tensor:
        """Flows (1, 4, 2, H, W) in pixels of four frames (3, H, W), as `ops.dis.window_flows` finds them.

        What is known of a pair of frames is known by their identity.
        """
        return torch.stack(self.four(frames)).unsqueeze(0).to(frames[0].device)

    def four(self, frames: Sequence[Tensor]) -> list[Tensor]:
        """The same flows one by one, (2, H, W) each, on the CPU or on a CUDA device, as the frames are."""
        pairs = asked(frames)
        unknown = [pair for pair in pairs if self._key(frames, pair) not in self._known]
        find = self._recorded if frames[0].is_cuda else dis
        for k in range(0, len(unknown), TOGETHER):
            for (a, b), flow in between(frames, unknown[k : k + TOGETHER], find).items():
                # the frames stay alive with it, so that their ids stay theirs; each flow is let go alone
                self._known[self._key(frames, (a, b))] = frames[a], frames[b], flow.clone()
        for pair in pairs:
            self._known.move_to_end(self._key(frames, pair))
        flows = four({pair: self._known[self._key(frames, pair)][2] for pair in pairs})
        kept = min(self._kept, max(len(PAIRS), KEPT_BYTES // flows[0].nbytes))
        while len(self._known) > kept:
            self._known.popitem(last=False)
        return flows

    @staticmethod
    def _key(frames: Sequence[Tensor], pair: Pair) -> tuple[int, int]:
        return id(frames[pair[0]]), id(frames[pair[1]])
