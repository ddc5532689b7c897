"""Candidates: two frames warped by the intermediate flow, and the four of them blended.

    before, after (B, C, h, w), flow (B, 8, h, w)  ->  warp_candidates  ->  (B, 4 C, h, w)

    before, after (B, 3, H, W), flow, logits (B, 8 and 4, H/2, W/2), upsampled by 2
        ->  blend_candidates  ->  their average (B, 3, H, W), weighted by the softmax of the logits
                                  residuals     (B, 60, H/2, W/2), pixels unshuffled: each candidate less the
                                                average, and the average less a half

A flow holds displacements (dx, dy) in pixels for each candidate in turn: of before, after, before and after.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.dispatch import kernel_for
from tweenlet.ops.warp import backwarp

CANDIDATE_FRAMES = ("before", "after", "before", "after")
"""The frame that each candidate is warped from: an intermediate flow makes two."""
MERGED_CHANNELS = 3 * len(CANDIDATE_FRAMES) + 3
"""Numbers of a pixel: how each candidate differs from the average, and that."""


def warp_candidates(before: Tensor, after: Tensor, flow: Tensor, out: Tensor | None = None) -> Tensor:
    """Warp both frames by each part of the flow.

    Args:
        before: (B, C, h, w).
        after: (B, C, h, w).
        flow: (B, 8, h, w) in pixels.
        out: Where the result is written, if given.

    Returns:
        The four candidates, (B, 4 C, h, w).

    """
    flows = flow.chunk(len(CANDIDATE_FRAMES), 1)
    frames = [before if name == "before" else after for name in CANDIDATE_FRAMES]
    if out is None:
        return torch.cat([backwarp(frame, part) for frame, part in zip(frames, flows, strict=True)], 1)
    for frame, part, place in zip(frames, flows, out.chunk(len(CANDIDATE_FRAMES), 1), strict=True):
        backwarp(frame, part, place)
    return out


def blend_candidates(before: Tensor, after: Tensor, flow: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Average the candidates of two frames.

    Args:
        before: (B, 3, H, W), H and W even.
        after: (B, 3, H, W).
        flow: (B, 8, H/2, W/2) in pixels of that size.
        logits: (B, 4, H/2, W/2), whose softmax weighs the candidates.

    Returns:
        The average (B, 3, H, W), and the residuals, (B, 60, H/2, W/2).

    """
    if (run := kernel_for(blend_candidates, before, after, flow, logits)) is not None:
        return run(before, after, flow, logits)
    there = warp_candidates(before, after, 2 * upsample_bilinear(flow)).chunk(len(CANDIDATE_FRAMES), 1)
    weights = upsample_bilinear(logits).softmax(1).to(before.dtype)
    average = sum(
        (weight[:, None] * candidate for weight, candidate in zip(weights.unbind(1), there, strict=True)),
        torch.zeros_like(before),
    )
    full = torch.cat((*(candidate - average for candidate in there), average - 0.5), 1)
    return average, F.pixel_unshuffle(full, 2)


def upsample_bilinear(x: Tensor) -> Tensor:
    """Maps (B, C, h, w) of twice the size, pixel areas on pixel areas."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
