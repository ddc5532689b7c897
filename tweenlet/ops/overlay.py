"""Overlay: what stands still over a picture that moves, a logo, burnt-in subtitles, the display of a game.

    four frames --> patches that differ in space, but not in time   --> what keeps its shape --+
                --> blocks that change from each frame to the next  --> where all moves -------+--> overlay

Optical flow takes such things along with what is behind them, or tears them. What a ball flies past keeps its
shape, too, and must not be taken for something in front of it; but before and behind a ball there are blocks
that do not change. No gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.dispatch import kernel_for

# Of two ends the first is where a sign begins, the second where it is full.
NOISE = 2 / 255
"""What coding may add to a pixel."""
PATCH = 5
"""Pixels a side (also in native code): a stroke of small letters and what is beside it."""
BLOCK, BLOCKS = 8, 13
"""Pixels a side of what changes as one (also in native code); blocks a side of what is around it."""
SHAPE = (1.0, 2.0)
"""Keeping its shape: the variance of a patch, over its variance in time."""
SHADE = (0.6, 0.3)
"""Keeping its shade: how far a pixel goes from its mean in time, over the standard deviation of its patch."""
CHANGE = (5 / 255, 10 / 255)
"""Moving: by how much a block differs from each frame to the next."""
MOVING = (0.05, 0.2)
"""Lying over what moves: the share of such blocks in the surroundings."""


@torch.no_grad()
def overlay(frames: Tensor, duplicates: Tensor) -> Tensor:
    """How much of each pixel is an overlay, 0 to 1: frames (B, 4, 3, H, W) in [0, 1] -> (B, 1, H, W).

    H and W are multiples of BLOCK. ``duplicates`` (B, 2): whether the first frame and the last only repeat
    their neighbours, as at the ends of a clip. Those tell nothing: each pixel is taken to change there as it
    does between the middle two.
    """
    persistence, changes = measure_persistence(frames, duplicates)
    moves = _ramp(changes.amin(1, keepdim=True), CHANGE).nan_to_num(0)
    moving = _ramp(_around(moves, BLOCKS), MOVING)
    moving = F.interpolate(moving, scale_factor=BLOCK, mode="bilinear")
    return (persistence * moving).nan_to_num_(0)


def measure_persistence(frames: Tensor, duplicates: Tensor) -> tuple[Tensor, Tensor]:
    """What keeps its shape and shade in frames (B, 4, 3, H, W), from 0 to 1, (B, 1, H, W); and their changes.

    These are the mean differences of blocks from each frame to the next, (B, 3, H / BLOCK, W / BLOCK).
    """
    if (run := kernel_for(measure_persistence, frames)) is not None:
        return run(frames, duplicates)
    first, before, after, last = frames.unbind(1)
    at_first, at_last = duplicates[..., None, None, None].unbind(1)
    first = torch.where(at_first, 2 * before - after, first)
    last = torch.where(at_last, 2 * after - before, last)
    frames = torch.stack((first, before, after, last), 1)
    mean = frames.mean(1)
    apart = frames - mean[:, None]
    contrast = (
        (_around(mean.square(), PATCH) - _around(mean, PATCH).square()).mean(1, keepdim=True).clamp_min(0)
    )
    change = _around(apart.square().mean((1, 2))[:, None], PATCH)
    shape = F.max_pool2d(_ramp(contrast / (change + NOISE**2), SHAPE), 3, 1, 1)
    shade = _ramp(apart.abs().amax((1, 2))[:, None] / (contrast.sqrt() + NOISE), SHADE)
    changes = F.avg_pool2d((frames[:, 1:] - frames[:, :-1]).abs().mean(2), BLOCK)
    return shape * shade, changes


def _ramp(x: Tensor, ends: tuple[float, float]) -> Tensor:
    """From 0 at the one end to 1 at the other."""
    none, full = ends
    return ((x - none) / (full - none)).clamp(0, 1)


def _around(x: Tensor, side: int) -> Tensor:
    """The mean of so many pixels a side around each, of those that there are."""
    return F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)
