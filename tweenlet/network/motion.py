"""Motion: classical optical flow over four frames, read as motion to the middle and refined coarse to fine.

frames (B, 4, 3, H, W), flows (B, 4, 2, H, W)  ->  Merged: a frame (B, 3, H, W), and candidates for a fusion

flows --> readings (1/2) --> refine 1/8 --> refine 1/4 --> refine 1/2 --> places, weights, hints -+
                                 ^              ^              ^             |                    |
before, after --> encode --------+--------------+--------------+             v                    v
before, after ---------------------------------------------------------> four views -> blend -> mend +-> frame
frames --> what stands still over them --------------------------------------------------------------+

A *reading* says where in before and in after a pixel of the middle frame comes from. There are two: one told
by the flows that start in before, one by those that start in after; they differ where something is hidden.
Motion is quadratic in time: four frames give velocity and acceleration (`flow/intermediate.py`). A network
fresh from its initialisation averages the four views: it starts as classical interpolation and learns to
correct it. What stands still over a moving picture, as a logo does (`ops/overlay.py`), is left where it is (a
fusion may add to it), and views that show it count for less elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.flow.dis import find_duplicates
from tweenlet.flow.intermediate import intermediate_flow
from tweenlet.network.blocks import PReLU, joined
from tweenlet.ops.candidates import (
    CANDIDATE_FRAMES,
    MERGED_CHANNELS,
    blend_candidates,
    upsample_bilinear,
    warp_candidates,
)
from tweenlet.ops.correlation import MATCHES, correlation
from tweenlet.ops.overlay import overlay
from tweenlet.ops.resample import avg_pool2

MISPLACED = 4.0
"""Taken off the score of a view that shows an overlay: beside one that shows none its weight is e^-4."""


@dataclass(frozen=True)
class Merged:
    """What motion alone makes of two frames, and what a fusion can make more of."""

    frame: Tensor
    """The views averaged by their weights, mended, and what stands still laid over them, (B, 3, H, W)."""
    apart: Tensor
    """How each view differs from their average, and that: (B, 60, H/2, W/2), pixels unshuffled."""
    hints: Tensor
    """What the finest level knows, (B, C, H/2, W/2)."""

    @property
    def candidates(self) -> dict[float, Tensor]:
        """For a fusion, by scale."""
        return {1.0: F.pixel_shuffle(self.apart, 2), 0.5: self.hints}


class Refine(nn.Module):
    """One level: look at both frames' features where the readings point, and say how far off they are.

    Where it ``matches``, it also sees how well the two views of each reading fit at 81 displacements.
    """

    def __init__(self, features: int, width: int, coarser: int, outputs: int, matches: bool):
        super().__init__()
        self.matches = matches
        inputs = len(CANDIDATE_FRAMES) * features + 10 + coarser + (2 * MATCHES if matches else 0)
        self.enter = _conv(inputs, width)
        self.middle = nn.Sequential(_conv(width, width), nn.Conv2d(width, width, 3, padding=1))
        self.leave = nn.Sequential(PReLU(width), _conv(width, width))
        self.predict = _silent(nn.Conv2d(width, outputs, 3, padding=1))

    def forward(self, before: Tensor, after: Tensor, places: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, h, w), readings (B, 8, h, w), what reached, coarser hints -> hints, corrections."""
        there = warp_candidates(before, after, places)
        matches = matched(there) if self.matches else []
        x = self.enter(joined(there, *matches, places / 8, *rest).to(before.dtype))
        x = self.leave(x + self.middle(x))
        return x, self.predict(x).to(places.dtype)


class Mend(nn.ModuleList):
    """What to add to the blend: layers at half the frame's size, on all that is known at full and at half."""

    def forward(self, apart: Tensor, hints: Tensor) -> Tensor:
        """Apart (B, 4 MERGED_CHANNELS, H/2, W/2), hints (B, C, H/2, W/2) -> addition (B, 3, H, W)."""
        x = joined(apart, hints)
        for layer in self:
            x = layer(x)
        return F.pixel_shuffle(x, 2)


class Motion(nn.Module):
    """Readings of the flow, refined by levels of ``widths`` (finest first, from 1/2 of the frame's size)."""

    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        features = [width // 2 for width in widths]
        self.encode = nn.ModuleList(
            nn.Sequential(_conv(i, o, stride=2), _conv(o, o))
            for i, o in zip((3, *features[:-1]), features, strict=True)
        )
        coarser = [width // 4 for width in widths[1:]]
        self.refine = nn.ModuleList(
            Refine(f, width, c, 8 if level else 8 + len(CANDIDATE_FRAMES), matches=level == len(widths) - 1)
            for level, (f, width, c) in enumerate(zip(features, widths, (*coarser, 0), strict=True))
        )
        self.mend = Mend(
            (
                _conv(4 * MERGED_CHANNELS + widths[0], widths[0]),
                _silent(nn.Conv2d(widths[0], 4 * 3, 3, padding=1)),
            )
        )
        self.enlarge = nn.ModuleList(
            nn.Conv2d(width, 4 * c, 1) for width, c in zip(widths[1:], coarser, strict=True)
        )

    def forward(self, frames: Tensor, flows: Tensor) -> Merged:
        """Frames (B, 4, 3, H, W) in [0, 1]; flows (B, 4, 2, H, W) in pixels, of 1->0, 1->2, 2->1 and 2->3.

        H and W are multiples of 2 ** len(widths), and of `ops.overlay.BLOCK`.
        """
        before, after = frames[:, 1], frames[:, 2]
        read, reached = intermediate_flow(before.float(), after.float(), flows.float())
        over = overlay(frames.float(), find_duplicates(flows))
        over_half = avg_pool2(over)
        read = read * (1 - over_half)
        both = torch.cat((before, after)) - 0.5
        features = list(accumulate(self.encode, lambda x, level: level(x), initial=both))[1:]
        reads = list(accumulate(self.refine[1:], lambda x, _: avg_pool2(x) / 2, initial=read))
        reaches = list(accumulate(self.refine[1:], lambda x, _: avg_pool2(x), initial=reached))
        correction = torch.zeros((), device=read.device)
        coarser: tuple[Tensor, ...] = ()
        for level in reversed(range(len(self.refine))):
            first, second = features[level].chunk(2)
            hints, said = self.refine[level](
                first, second, reads[level] + correction, reaches[level], *coarser
            )
            correction = correction + said[:, :8]
            if level:
                correction = 2 * upsample_bilinear(correction)
                coarser = (F.pixel_shuffle(self.enlarge[level - 1](hints), 2),)
        places = reads[0] + correction
        scores = said[:, 8:] - MISPLACED * warp_candidates(over_half, over_half, places)
        average, apart = blend_candidates(before, after, places, scores)
        made = average + self.mend(apart, hints).to(average.dtype)
        return Merged(made.lerp((before + after) / 2, over.to(made.dtype)), apart, hints)


def matched(there: Tensor) -> list[Tensor]:
    """How well the two views (B, 4 C, h, w) of each reading fit: twice (B, MATCHES, h, w)."""
    return [correlation(*reading.chunk(2, 1)) for reading in there.chunk(2, 1)]


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), PReLU(outputs))


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer, saying zero until it has learnt something."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
