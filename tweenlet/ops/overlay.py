"""Overlay: detect static overlays on a moving picture, such as logos, burnt-in subtitles and game displays.

    four frames --> patches that vary in space, but not in time     --> constant shape --+
                --> blocks that change from each frame to the next  --> motion ----------+--> overlay

Optical flow moves overlays with the background, or tears them. The background that a ball flies past keeps
its shape too and must not be taken for an overlay; but before and after the ball there are blocks that do not
change. No gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.dispatch import kernel_for
from tweenlet.ops.resample import box_blur

# Of two ends the first is where a sign begins, the second where it is full.
NOISE = 2 / 255
"""Coding noise of a pixel, for frames in [0, 1]."""
PATCH = 5
"""Side of a patch in pixels (also in native code): a stroke of small letters and its surroundings."""
BLOCK, BLOCKS = 8, 13
"""Side of a block in pixels (also in native code), and side of its surroundings in blocks."""
SHAPE = (1.0, 2.0)
"""Ramp of constant shape, from 0 to 1: variance of a patch over its variance in time."""
SHADE = (0.6, 0.3)
"""Ramp of constant shade, from 0 to 1: a pixel's range in time over the deviation of its patch."""
CHANGE = (5 / 255, 10 / 255)
"""Ramp of motion, from 0 to 1: a block's difference between frames."""
MOVING = (0.05, 0.2)
"""Ramp of an overlay over motion, from 0 to 1: fraction of moving blocks in the surroundings."""


@torch.no_grad()
def overlay(frames: Tensor, duplicates: Tensor) -> Tensor:
    """Opacity of a static overlay, 0 to 1: frames (B, 4, 3, H, W) in [0, 1] -> (B, 1, H, W).

    H and W are multiples of BLOCK. ``duplicates`` (B, 2): whether the first and the last frame repeat their
    neighbours, as at the ends of a clip. These tell nothing: pixels are assumed to change there as between
    the middle two.
    """
    persistence, changes = measure_persistence(frames, duplicates)
    moves = _ramp(changes.amin(1, keepdim=True), CHANGE).nan_to_num(0)
    moving = _ramp(box_blur(moves, BLOCKS), MOVING)
    moving = F.interpolate(moving, scale_factor=BLOCK, mode="bilinear")
    return moving.mul_(persistence).nan_to_num_(0)


def measure_persistence(frames: Tensor, duplicates: Tensor) -> tuple[Tensor, Tensor]:
    """Persistence of pixels over frames (B, 4, 3, H, W): constancy of shape and shade, 0 to 1, (B, 1, H, W).

    Also returns mean absolute differences of blocks between frames, (B, 3, H / BLOCK, W / BLOCK).
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
    power = box_blur(mean.square().mean(1, keepdim=True), PATCH)
    contrast = (power - box_blur(mean, PATCH).square().mean(1, keepdim=True)).clamp_min(0)
    change = box_blur(difference.square().mean((1, 2))[:, None], PATCH)
    shape = F.max_pool2d(_ramp(contrast / (change + NOISE**2), SHAPE), 3, 1, 1)
    shade = _ramp(difference.abs().amax((1, 2))[:, None] / (contrast.sqrt() + NOISE), SHADE)
    changes = F.avg_pool2d((frames[:, 1:] - frames[:, :-1]).abs().mean(2), BLOCK)
    return shape * shade, changes


def _ramp(x: Tensor, ends: tuple[float, float]) -> Tensor:
    """Linear ramp from 0 at one end to 1 at the other, clamped."""
    none, full = ends
    return ((x - none) / (full - none)).clamp(0, 1)
