"""Readings: where in two frames a pixel of the middle one comes from, as flow over four frames tells it.

    flows, half the size --> halfway --> thrown there, as far as trusted --> told by before, told by after

A pixel at p(0) is at p(s) = p(0) + v s + a s^2 / 2 (Xu et al., "Quadratic Video Interpolation", 2019), where
flows to s = -1 and s = 1 give v and a. No gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.ops.cpu import library as native
from tweenlet.ops.cpu.bindings import Library, for_each_sample
from tweenlet.ops.resample import pool
from tweenlet.ops.splat import splat_sum
from tweenlet.ops.warp import sample

MISTRUST = 10.0
"""How fast a flow vector loses weight as the two pixels that it joins differ."""
HEARSAY = 0.01
"""Weight of the other frame's flow in a reading: next to nothing, but all where no own flow lands."""


@torch.no_grad()
def readings(before: Tensor, after: Tensor, flows: Tensor) -> tuple[Tensor, Tensor]:
    """Where each pixel of the middle frame comes from, at half the frame's size and in its pixels.

    Frames (B, 3, H, W), flows (B, 4, 2, H, W) of 1->0, 1->2, 2->1, 2->3, float32, H and W even. Returns
    (B, 8, H/2, W/2): displacements (dx, dy) to before and to after as before's flow tells them, then the same
    as after's tells them; and (B, 2, H/2, W/2), how much was thrown onto each pixel from either frame.
    """
    if (library := native.library_for(before, after, flows)) is not None:
        return _by_native_code(library, before, after, flows)
    before, after = pool(before), pool(after)
    back_1, on_1, back_2, on_2 = (pool(flow) / 2 for flow in flows.unbind(1))
    thrown = []
    for frame, other, across, away in ((before, after, on_1, back_1), (after, before, back_2, on_2)):
        halfway = 0.375 * across - 0.125 * away
        trust = (-MISTRUST * (frame - sample(other, across)).abs().mean(1, keepdim=True)).exp()
        to_own, to_other = -halfway, across - halfway
        pair = (to_own, to_other) if frame is before else (to_other, to_own)
        thrown.append(splat_sum(torch.cat((*pair, torch.ones_like(trust)), 1) * trust, halfway))
    told = []
    for own, other in (thrown, reversed(thrown)):
        both = own + HEARSAY * other
        told.append(both[:, :4] / both[:, 4:].clamp_min(1e-6))
    return torch.cat(told, 1), torch.cat([total[:, 4:] for total in thrown], 1).clamp_max(2)


def _by_native_code(library: Library, before: Tensor, after: Tensor, flows: Tensor) -> tuple[Tensor, Tensor]:
    height, width = (side // 2 for side in before.shape[2:])
    read, reached = (before.new_empty(len(before), planes, height, width) for planes in (8, 2))
    samples = (before.contiguous(), after.contiguous(), flows.contiguous(), read, reached)
    for_each_sample(
        library.intermediate_flow, samples, height, width, MISTRUST, HEARSAY, torch.get_num_threads()
    )
    return read, reached
