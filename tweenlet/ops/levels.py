"""Levels: what a level of an intermediate-flow network sees.

before, after, both with features --fetched along the flows--+--> inputs of the level
time, and what a coarser level found out --------enlarged----+
"""

from __future__ import annotations

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
    estimate, *more_here = (
        F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False) for x in (estimate, *more)
    )
    flows = estimate[:, :4]
    small = torch.cat((flows / scale, estimate[:, 4:]), 1)
    return warped_inputs(before, after, times, small, *(x / scale for x in more_here)), flows
