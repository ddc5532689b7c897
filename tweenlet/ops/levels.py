"""Levels: inputs of a level of an intermediate-flow network: both frames warped, and the estimate so far.

before, after, both with features --warped by the flows--+--> inputs of the level
time, and a coarser level's estimate -------upsampled----+
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.dispatch import kernel_for
from tweenlet.ops.warp import backwarp


def warped_inputs(
    before: Tensor, after: Tensor, times: Tensor, estimate: Tensor | None, *more: Tensor
) -> Tensor:
    """Inputs of a level at the size of the estimate so far.

    Args:
        before: a frame and its features, (B, 3 + F, h, w).
        after: the next frame and its features, of the same shape.
        times: (B, 1, 1, 1).
        estimate: flows in pixels of these frames, mask and context, (B, 5 + context, h, w); None at the first
            level, which sees unwarped frames.
        more: tensors to concatenate after the flows, (B, ..., h, w) each.

    Returns:
        (B, C, h, w): frames, features, time, mask, context, flows, more.

    """
    plane = times.expand(-1, 1, *before.shape[-2:])
    if estimate is None:
        return torch.cat((before[:, :3], after[:, :3], before[:, 3:], after[:, 3:], plane), 1)
    flows = estimate[:, :4]
    before, after = backwarp(before, flows[:, :2]), backwarp(after, flows[:, 2:])
    frames = (before[:, :3], after[:, :3], before[:, 3:], after[:, 3:])
    return torch.cat((*frames, plane, estimate[:, 4:], flows, *more), 1)


def level_inputs(
    before: Tensor, after: Tensor, times: Tensor, scale: int, estimate: Tensor, factor: int, *more: Tensor
) -> tuple[Tensor, Tensor]:
    """Inputs of a level after a coarser one, and the flows that it corrects.

    Args:
        before: a frame and its features at the level's size, (B, 3 + F, h, w).
        after: the next frame and its features, of the same shape.
        times: (B, 1, 1, 1).
        scale: downsampling factor of this level relative to the frame.
        estimate: estimate of the coarser level, (B, 5 + context, h/factor, w/factor): flows in pixels of the
            frame, mask, context.
        factor: downsampling factor of the coarser level relative to this one.
        more: tensors to concatenate after the flows, in pixels of the frame, (B, ..., h/factor, w/factor)
            each.

    Returns:
        As :func:`warped_inputs`; and flows (B, 4, h, w) in pixels of the frame.

    """
    estimate, *more_here = (resize(x, factor) for x in (estimate, *more))
    flows = estimate[:, :4]
    small = torch.cat((flows / scale, estimate[:, 4:]), 1)
    return warped_inputs(before, after, times, small, *(x / scale for x in more_here)), flows


def pooled_level_inputs(
    before: Tensor, after: Tensor, times: Tensor, scale: int, estimates: Sequence[Tensor]
) -> Tensor:
    """Inputs of a level, warped at full size and then downsampled to the level's size, bilinearly.

    Args:
        before: a frame and its features, (B, 3 + F, H, W).
        after: the next frame and its features, of the same shape.
        times: (B, 1, 1, 1).
        scale: downsampling factor of the level; H and W are multiples of it.
        estimates: estimates of the coarser levels, (B, 5 + context, H/s, W/s) each: corrections of the flows
            in pixels of the frame, mask, context.

    Returns:
        (B, C, H/scale, W/scale), as :func:`warped_inputs`; flows in pixels of the level.

    """
    if scale == 1 or scale % 2 == 0:  # then a bilinear reduction is the mean of the middle 2x2 pixels
        if not estimates:
            return warped_inputs(_middle_mean(before, scale), _middle_mean(after, scale), times, None)
        if (run := kernel_for(pooled_level_inputs, before, after, *estimates)) is not None:
            return run(before, after, times, scale, estimates)
    estimate = combine_estimates(estimates, before.shape[-2]) if estimates else None
    inputs = resize(warped_inputs(before, after, times, estimate), 1 / scale)
    if estimate is not None and scale != 1:
        inputs[:, -4:] /= scale
    return inputs


def _middle_mean(x: Tensor, scale: int) -> Tensor:
    """Mean of the middle 2x2 pixels of each cell of ``scale`` x ``scale``."""
    if scale == 1:
        return x
    first = scale // 2 - 1
    rows = x[..., first::scale, :] + x[..., first + 1 :: scale, :]
    return (rows[..., first::scale] + rows[..., first + 1 :: scale]) / 4


def merge_warped(before: Tensor, after: Tensor, estimates: Sequence[Tensor]) -> Tensor:
    """Warp both neighbours by the flows, and blend them by the mask: the frame (B, 3, H, W).

    Args:
        before: a frame and its features, (B, 3 + F, H, W).
        after: the next frame and its features, of the same shape.
        estimates: estimates of all levels, as for :func:`pooled_level_inputs`.

    """
    if (run := kernel_for(merge_warped, before, after, *estimates)) is not None:
        return run(before, after, estimates)
    estimate = combine_estimates(estimates, before.shape[-2])
    first, second = backwarp(before[:, :3], estimate[:, :2]), backwarp(after[:, :3], estimate[:, 2:4])
    share = torch.sigmoid(estimate[:, 4:5])
    return first * share + second * (1 - share)


def combine_estimates(estimates: Sequence[Tensor], height: int) -> Tensor:
    """Combine estimates (B, 5 + context, h, w) at full size: flows summed, the rest from the last level."""
    flows, rest = None, None
    for level in estimates:
        rest = resize(level, height / level.shape[-2])
        flows = rest[:, :4] if flows is None else flows + rest[:, :4]
    assert flows is not None
    assert rest is not None
    return torch.cat((flows, rest[:, 4:]), 1)


def resize(x: Tensor, factor: float) -> Tensor:
    """Resize bilinearly, (B, C, H, W) -> (B, C, factor H, factor W)."""
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
