"""Search: dense optical flow of many patches at once. No parameters, no gradient.

    first, second (B, H, W), luma in [0, 255]  ->  flow (B, 2, H, W) in pixels (dx, dy): as `flow.dis` has it

    both frames --> halved again and again
                       |                      +---------------- doubled ----------------+
                       v                      v                                         |
    from the coarsest: first, second, flow --> search: a vector a patch --> densify --> refine

Kroeger et al., "Fast Optical Flow using Dense Inverse Search", 2016, with the patches, weights and refinement
of OpenCV's medium preset. There, one after the other, a patch tries what its left and upper neighbours have
just found, and 0.7 dB of the default network's PSNR on clips9 hang on that. Here all patches try what four
neighbours found a round before, eight patches away at first and then nearer, and take whole Gauss-Newton
steps (OpenCV's are an eighth), of which few do. (Frames of less than 46 pixels OpenCV searches at their own
size; here they are halved as others are.) All that takes long is native code on a CPU, which takes
three quarters of OpenCV's CPU time, and kernels on a CUDA device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.flow.variational import refine
from tweenlet.ops.dispatch import kernel_for
from tweenlet.ops.resample import avg_pool2
from tweenlet.ops.warp import backwarp

PATCH, STRIDE = 8, 3
"""Pixels along a patch's side, and between patches."""
FINEST = 1
"""The frames are halved so often before anything is looked for."""
SMALLEST = PATCH * 2**FINEST
"""Pixels along a side under which there is no patch to look for."""
ROUNDS = (8, 4, 2, 1, 1)
"""How many patches distance, in each round, the neighbours are whose vectors a patch tries."""
STEPS = 3
"""Places looked at in a round, from the best vector tried on."""
LEAST_DETERMINANT = 1e-5
"""The least determinant of a patch's structure tensor that a step divides by."""


def search(first: Tensor, second: Tensor) -> Tensor:
    """Flow (B, 2, H, W) float32 in pixels from ``first`` to ``second``, both (B, H, W), luma in [0, 255].

    Frames with a side under SMALLEST are held not to move.
    """
    height, width = first.shape[-2:]
    if min(height, width) < SMALLEST:
        return torch.zeros(first.shape[0], 2, height, width, device=first.device)
    pyramid = [torch.stack((first, second)).float()]
    for _ in range(levels(height, width)):
        pyramid.append(avg_pool2(pyramid[-1]))
    flow = pyramid[-1].new_zeros(first.shape[0], 2, *pyramid[-1].shape[-2:])
    for level in reversed(range(len(pyramid))):
        one, other = pyramid[level]
        if flow.shape[-2:] != one.shape[-2:]:
            flow = upsample_flow(flow, *one.shape[-2:])
        if level >= FINEST:
            flow = refine(one, other, densify(one, other, search_patches(one, other, flow)))
    return flow


def levels(height: int, width: int) -> int:
    """How often frames are halved: to a fourth of the longer side in patches, or one patch."""
    by_motion = int(math.log2(max(height, width) / (4 * PATCH)) + 0.5)
    return max(FINEST, min(by_motion, int(math.log2(min(height, width) / PATCH))))


def upsample_flow(flow: Tensor, height: int, width: int) -> Tensor:
    """Flow (B, 2, h, w) for frames of twice the size, but for a last row or column that is one too many."""
    twice = 2 * F.interpolate(flow, scale_factor=2.0, mode="bilinear", align_corners=False)
    return twice[..., :height, :width].contiguous()


def search_patches(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """A vector for each patch, (B, 2, rows, columns), vectors from ``flow`` (B, 2, h, w) on.

    First, second (B, h, w). A patch counts without its mean, so that brighter frames fit as well.
    """
    middle = PATCH // 2
    vectors = flow[..., middle : 1 - middle : STRIDE, middle : 1 - middle : STRIDE].contiguous()
    gradients = sobel(first)
    for distance in ROUNDS:
        vectors = search_round(first, second, gradients, vectors, distance)
    return vectors


def search_round(first: Tensor, second: Tensor, gradients: Tensor, vectors: Tensor, distance: int) -> Tensor:
    """One round: the best of a patch's own vector and four neighbours', and a few steps from there.

    First, second (B, h, w), gradients (B, 2, h, w) of the first, vectors ``vectors`` (B, 2, rows, columns).
    """
    if (run := kernel_for(search_round, first, second, gradients, vectors)) is not None:
        return run(first, second, gradients, vectors, distance)
    patches = Patches(first, second, gradients)
    rows, columns = vectors.shape[-2:]
    row = torch.arange(rows, device=vectors.device)
    column = torch.arange(columns, device=vectors.device)
    start, least = vectors, patches.misfit(vectors)[0]
    for down, right in ((0, -distance), (0, distance), (-distance, 0), (distance, 0)):
        tried = vectors[:, :, (row + down).clamp(0, rows - 1)][..., (column + right).clamp(0, columns - 1)]
        misfit, _ = patches.misfit(tried)
        better = misfit < least
        start, least = torch.where(better[:, None], tried, start), torch.where(better, misfit, least)
    best = place = start
    least = torch.full_like(least, torch.inf)
    for _ in range(STEPS):
        misfit, step = patches.misfit(place)
        better = misfit < least
        best, least = torch.where(better[:, None], place, best), torch.where(better, misfit, least)
        place = place - step
    near = (best - start).square().sum(1, keepdim=True) <= PATCH**2
    return torch.where(near, best, start)


class Patches:
    """All patches of ``first`` (B, h, w), and how they fit ``second`` where vectors point."""

    def __init__(self, first: Tensor, second: Tensor, gradients: Tensor):
        self.second = second
        self.shape = [1 + (side - PATCH) // STRIDE for side in first.shape[-2:]]
        height, width = first.shape[-2:]
        device = first.device
        self.top = STRIDE * torch.arange(self.shape[0], device=device)[:, None]
        self.left = STRIDE * torch.arange(self.shape[1], device=device)
        self.ends = (height - 1, width - 1)
        self.patch = _centred(self._cut(first))
        self.gradients = x, y = [self._cut(slope) for slope in gradients.unbind(1)]
        xx, xy, yy = _summed(x * x), _summed(x * y), _summed(y * y)
        self.tensor = [part / (xx * yy - xy * xy).clamp_min(LEAST_DETERMINANT) for part in (xx, xy, yy)]

    def misfit(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Squared differences (B, rows, columns), and what a Gauss-Newton step takes off (B, 2, ...)."""
        apart = _centred(self._fetched(vectors) - self.patch)
        x, y = (_summed(apart * slope) for slope in self.gradients)
        xx, xy, yy = self.tensor
        return _summed(apart * apart), torch.stack((yy * x - xy * y, xx * y - xy * x), 1)

    def _cut(self, image: Tensor) -> Tensor:
        """The patches of a image (B, h, w), (B, PATCH, PATCH, rows, columns)."""
        cut = F.unfold(image[:, None], PATCH, stride=STRIDE)
        return cut.view(-1, PATCH, PATCH, *self.shape)

    def _fetched(self, vectors: Tensor) -> Tensor:
        """The same of ``second``, where vectors (B, 2, rows, columns) point, bilinearly."""
        (y, x), (bottom, right) = (self.top + vectors[:, 1], self.left + vectors[:, 0]), self.ends
        y, x = y.clamp(1 - PATCH, bottom), x.clamp(1 - PATCH, right)
        row, column = y.floor(), x.floor()
        around = torch.arange(PATCH + 1, device=vectors.device)
        rows = (row.long()[:, None] + around[:, None, None]).clamp(0, bottom)
        columns = (column.long()[:, None] + around[:, None, None]).clamp(0, right)
        places = rows[:, :, None] * (right + 1) + columns[:, None]
        taken = self.second.flatten(1).gather(1, places.flatten(1)).view_as(places)
        lines = torch.lerp(taken[:, :, :-1], taken[:, :, 1:], (x - column)[:, None, None])
        return torch.lerp(lines[:, :-1], lines[:, 1:], (y - row)[:, None, None])


def densify(first: Tensor, second: Tensor, vectors: Tensor) -> Tensor:
    """Flow (B, 2, h, w): of each pixel the mean of its patches' vectors, those that fit it before others."""
    if (run := kernel_for(densify, first, second, vectors)) is not None:
        return run(first, second, vectors)
    (down, row), (right, column) = (
        _patches_of(side, count, first.device)
        for side, count in zip(first.shape[-2:], vectors.shape[-2:], strict=True)
    )
    total = weights = first.new_zeros(())
    for by_row, rows in zip(down, row, strict=True):
        for by_column, columns in zip(right, column, strict=True):
            vector = vectors[:, :, rows][..., columns]
            apart = (backwarp(second[:, None], vector) - first[:, None]).abs()
            weight = by_row[:, None] * by_column / apart.clamp_min(1)
            total, weights = total + weight * vector, weights + weight
    return total / weights


def _patches_of(side: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Along a side, the patches of each pixel (3, side), and which of the three there are (as 1 and 0).

    Pixels past the last patch are its own.
    """
    place = torch.arange(side, device=device)
    last = (place // STRIDE).clamp_max(count - 1)
    first = torch.minimum((place - PATCH).div(STRIDE, rounding_mode="floor") + 1, last).clamp_min(0)
    patches = last - torch.arange(-(-PATCH // STRIDE), device=device)[:, None]
    return (patches >= first).float(), patches.clamp_min(0)


def sobel(image: Tensor) -> Tensor:
    """Slopes (B, 2, h, w) along x and y of a image (B, h, w), per pixel; reflected beyond the borders."""
    if (run := kernel_for(sobel, image)) is not None:
        return run(image)
    around = F.pad(image[:, None], (1, 1, 1, 1), "reflect")
    x = (around[..., 2:] - around[..., :-2]) / 8
    y = (around[..., 2:, :] - around[..., :-2, :]) / 8
    x = x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]
    y = y[..., :-2] + 2 * y[..., 1:-1] + y[..., 2:]
    return torch.cat((x, y), 1)


def _centred(patches: Tensor) -> Tensor:
    return patches - patches.mean((1, 2), keepdim=True)


def _summed(patches: Tensor) -> Tensor:
    return patches.sum((1, 2))
