"""Levels: what a level of an intermediate-flow network sees.

before, after, both with features --fetched along the flows--+--> inputs of the level
time, and what a coarser level found out --------enlarged----+
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
    """What a level sees where the estimate is as large as the frames.

    Args:
        before: a frame and its features, (B, 3 + F, h, w).
        after: the same of the frame after.
        times: (B, 1, 1, 1).
        estimate: flows in pixels of what is given here, mask and context, (B, 5 + context, h, w); None at the
            first level: both are given as they are.
        more: what follows the flows, (B, ..., h, w) each.

    Returns:
        (B, C, h, w): frames, features, time, mask, context, flows, more.

    """
    plane = times.expand(-1, 1, *before.shape[-2:])
    if estimate is None:
        return torch.cat((before[:, :3], after[:, :3], before[:, 3:], after[:, 3:], plane), 1)
    flows = estimate[:, :4]
    before, after = backwarp(before, flows[:, :2]), backwarp(after, flows[:, 2:])
    known = (before[:, :3], after[:, :3], before[:, 3:], after[:, 3:], plane, estimate[:, 4:], flows)
    return torch.cat((*known, *more), 1)


def level_inputs(
    before: Tensor, after: Tensor, times: Tensor, scale: int, estimate: Tensor, factor: int, *more: Tensor
) -> tuple[Tensor, Tensor]:
    """What a level sees that follows a coarser one, and the flows that it corrects.

    Args:
        before: a frame and its features at the level's size, (B, 3 + F, h, w).
        after: the same of the frame after.
        times: (B, 1, 1, 1).
        scale: how many times smaller than the frame this size is.
        estimate: what the coarser level found out, (B, 5 + context, h/factor, w/factor): flows in pixels of
            the frame, mask, context.
        factor: how many times smaller still that is.
        more: what follows the flows, in pixels of the frame, (B, ..., h/factor, w/factor) each.

    Returns:
        As :func:`warped_inputs`; and flows (B, 4, h, w) in pixels of the frame.

    """
    if (run := kernel_for(level_inputs, before, after, estimate, *more)) is not None:
        return run(before, after, times, scale, estimate, factor, *more)
    estimate, *more_here = (resize(x, factor) for x in (estimate, *more))
    flows = estimate[:, :4]
    small = torch.cat((flows / scale, estimate[:, 4:]), 1)
    return warped_inputs(before, after, times, small, *(x / scale for x in more_here)), flows


def pooled_level_inputs(
    before: Tensor, after: Tensor, times: Tensor, scale: int, estimates: Sequence[Tensor]
) -> Tensor:
    """What a level sees that warps at the frame's size and then reduces to its own, bilinearly.

    Args:
        before: a frame and its features, (B, 3 + F, H, W).
        after: the same of the frame after.
        times: (B, 1, 1, 1).
        scale: how many times smaller than the frame the level's size is; H and W are multiples of it.
        estimates: of the coarser levels, (B, 5 + context, H/s, W/s) each: corrections of the flows in pixels
            of the frame, mask, context.

    Returns:
        (B, C, H/scale, W/scale), as :func:`warped_inputs`; flows in pixels of the level.

    """
    if scale == 1 or scale % 2 == 0:  # then a bilinear reduction is the mean of the middle 2x2 pixels
        if not estimates:
            return warped_inputs(_middle_mean(before, scale), _middle_mean(after, scale), times, None)
        if (run := kernel_for(pooled_level_inputs, before, after, *estimates)) is not None:
            return run(before, after, times, scale, estimates)
    known = combine_estimates(estimates, before.shape[-2]) if estimates else None
    inputs = resize(warped_inputs(before, after, times, known), 1 / scale)
    if known is not None and scale != 1:
        inputs[:, -4:] /= scale
    return inputs


def _middle_mean(x: Tensor, scale: int) -> Tensor:
    """The mean of the middle 2x2 pixels of each cell of ``scale`` x ``scale``."""
    if scale == 1:
        return x
    first = scale // 2 - 1
    rows = x[..., first::scale, :] + x[..., first + 1 :: scale, :]
    return (rows[..., first::scale] + rows[..., first + 1 :: scale]) / 4


def merge_warped(before: Tensor, after: Tensor, estimates: Sequence[Tensor]) -> Tensor:
    """The frame (B, 3, H, W): both neighbours warped along the flows, and mixed by the mask.

    Args:
        before: a frame and its features, (B, 3 + F, H, W).
        after: the same of the frame after.
        estimates: of all levels, as :func:`pooled_level_inputs` takes them.

    """
    if (run := kernel_for(merge_warped, before, after, *estimates)) is not None:
        return run(before, after, estimates)
    known = combine_estimates(estimates, before.shape[-2])
    first, second = backwarp(before[:, :3], known[:, :2]), backwarp(after[:, :3], known[:, 2:4])
    share = torch.sigmoid(known[:, 4:5])
    return first * share + second * (1 - share)


def combine_estimates(estimates: Sequence[Tensor], height: int) -> Tensor:
    """Estimates of levels (B, 5 + context, h, w), at the frame's size: flows summed, the rest the last's."""
    flows, rest = None, None
    for estimate in estimates:
        rest = resize(estimate, height / estimate.shape[-2])
        flows = rest[:, :4] if flows is None else flows + rest[:, :4]
    assert flows is not None
    assert rest is not None
    return torch.cat((flows, rest[:, 4:]), 1)


def resize(x: Tensor, factor: float) -> Tensor:
    """Bilinear, (B, C, H, W) -> (B, C, factor H, factor W)."""
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
