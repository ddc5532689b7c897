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
"""Coding noise of a pixel, of frames in [0, 1]."""
PATCH = 5
"""Side of a patch in pixels (also in native code): a stroke of small letters and its surroundings."""
BLOCK, BLOCKS = 8, 13
"""Side of a block in pixels (also in native code), and side of its surroundings in blocks."""
SHAPE = (1.0, 2.0)
"""Shape is kept, 0 to 1, as the variance of a patch over its variance in time rises."""
SHADE = (0.6, 0.3)
"""Shade is kept, 0 to 1, as a pixel's range in time over the deviation of its patch falls."""
CHANGE = (5 / 255, 10 / 255)
"""A block moves, 0 to 1, as its difference from frame to frame rises."""
MOVING = (0.05, 0.2)
"""An overlay lies over motion, 0 to 1, as the share of moving blocks in the surroundings rises."""


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
    """How far pixels keep shape and shade over frames (B, 4, 3, H, W), 0 to 1, (B, 1, H, W); and changes.

    Changes are mean absolute differences of blocks between frames, (B, 3, H / BLOCK, W / BLOCK).
    """
    if (run := kernel_for(measure_persistence, frames)) is not None:
        return run(frames, duplicates)
    first, before, after, last = frames.unbind(1)
    at_first, at_last = duplicates[..., None, None, None].unbind(1)
    first = torch.where(at_first, 2 * before - after, first)
    last = torch.where(at_last, 2 * after - before, last)
    frames = torch.stack((first, before, after, last), 1)
    mean = frames.mean(1)
    difference = frames - mean[:, None]
    power = _around(mean.square().mean(1, keepdim=True), PATCH)
    contrast = (power - _around(mean, PATCH).square().mean(1, keepdim=True)).clamp_min(0)
    change = _around(difference.square().mean((1, 2))[:, None], PATCH)
    shape = F.max_pool2d(_ramp(contrast / (change + NOISE**2), SHAPE), 3, 1, 1)
    shade = _ramp(difference.abs().amax((1, 2))[:, None] / (contrast.sqrt() + NOISE), SHADE)
    changes = F.avg_pool2d((frames[:, 1:] - frames[:, :-1]).abs().mean(2), BLOCK)
    return shape * shade, changes


def _ramp(x: Tensor, ends: tuple[float, float]) -> Tensor:
    """From 0 at the one end to 1 at the other."""
    none, full = ends
    return ((x - none) / (full - none)).clamp(0, 1)


def _around(x: Tensor, side: int) -> Tensor:
    """The mean of so many pixels a side around each, of those that there are."""
    rows = F.avg_pool2d(x, (side, 1), 1, (side // 2, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, side), 1, (0, side // 2), count_include_pad=False)
