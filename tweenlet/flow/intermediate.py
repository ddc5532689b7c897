"""Intermediate flow: where in two frames a pixel of the middle one comes from, by flow over four frames.

    flows, half the size --> halfway --> splatted there, as far as trusted --> by before's, by after's

A pixel at p(0) is at p(s) = p(0) + v s + a s^2 / 2 (Xu et al., "Quadratic Video Interpolation", 2019), where
flows to s = -1 and s = 1 give v and a. No gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.ops.dispatch import kernel_for
from tweenlet.ops.resample import avg_pool2
from tweenlet.ops.splat import splat_sum
from tweenlet.ops.warp import backwarp

PHOTOMETRIC_DECAY = 10.0
"""How fast a flow vector loses weight as the two pixels that it joins differ, by exp(-decay * difference)."""
FALLBACK_WEIGHT = 0.01
"""Weight of the other frame's flow; it only matters where nothing of this frame's lands."""


@torch.no_grad()
def intermediate_flow(before: Tensor, after: Tensor, flows: Tensor) -> tuple[Tensor, Tensor]:
    """Flow from the frame in the middle to its neighbours, at half the frame's size and in its pixels.

    Args:
        before: (B, 3, H, W), float32, H and W even.
        after: Likewise.
        flows: (B, 4, 2, H, W) in pixels: of 1->0, 1->2, 2->1, 2->3.

    Returns:
        (B, 8, H/2, W/2), displacements (dx, dy) to before and to after by before's flow, then the same by
        after's; and (B, 2, H/2, W/2), how much of either frame was splatted onto each pixel, 0 to 2.

    """
    if (run := kernel_for(intermediate_flow, before, after, flows)) is not None:
        return run(before, after, flows)
    before, after = avg_pool2(before), avg_pool2(after)
    back_1, on_1, back_2, on_2 = (avg_pool2(flow) / 2 for flow in flows.unbind(1))
    splatted = []
    for frame, other, across, away in ((before, after, on_1, back_1), (after, before, back_2, on_2)):
        halfway = 0.375 * across - 0.125 * away
        trust = (-PHOTOMETRIC_DECAY * (frame - backwarp(other, across)).abs().mean(1, keepdim=True)).exp()
        to_own, to_other = -halfway, across - halfway
        pair = (to_own, to_other) if frame is before else (to_other, to_own)
        splatted.append(splat_sum(torch.cat((*pair, torch.ones_like(trust)), 1) * trust, halfway))
    estimates = []
    for own, other in (splatted, reversed(splatted)):
        both = own + FALLBACK_WEIGHT * other
        estimates.append(both[:, :4] / both[:, 4:].clamp_min(1e-6))
    return torch.cat(estimates, 1), torch.cat([total[:, 4:] for total in splatted], 1).clamp_max(2)
