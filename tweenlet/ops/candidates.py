"""Views: two frames fetched from where readings point, and the four of them averaged.

    before, after (B, C, h, w), places (B, 8, h, w)  ->  views  ->  (B, 4 C, h, w)

    before, after (B, 3, H, W), places, said (B, 8 and 4, H/2, W/2), doubled
        ->  blended  ->  their average (B, 3, H, W), weighted by the softmax of what is said
                         what differs  (B, 60, H/2, W/2), pixels unshuffled: each view less the average, and
                                       the average less a half

Places are displacements (dx, dy) in pixels, for each view in turn, of before, after, before and after.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.cpu import arena as region
from tweenlet.ops.cpu import library as native
from tweenlet.ops.cpu.bindings import Library, for_each_sample
from tweenlet.ops.warp import sample

VIEWS = ("before", "after", "before", "after")
"""The frame that each view shows: a reading is two views."""
MERGED = 3 * len(VIEWS) + 3
"""Numbers of a pixel: how each view differs from the average, and that."""


def views(before: Tensor, after: Tensor, places: Tensor, into: Tensor | None = None) -> Tensor:
    """Both frames (B, C, h, w) fetched from where places (B, 8, h, w) point: (B, 4 C, h, w).

    Written ``into`` that, if given.
    """
    moves = places.chunk(len(VIEWS), 1)
    shown = [before if name == "before" else after for name in VIEWS]
    if into is None:
        return torch.cat([sample(frame, move) for frame, move in zip(shown, moves, strict=True)], 1)
    for frame, move, part in zip(shown, moves, into.chunk(len(VIEWS), 1), strict=True):
        sample(frame, move, part)
    return into


def blended(before: Tensor, after: Tensor, places: Tensor, said: Tensor) -> tuple[Tensor, Tensor]:
    """The average of the views of two frames (B, 3, H, W), and what differs, (B, 60, H/2, W/2).

    Places (B, 8, H/2, W/2) in pixels of that size, said (B, 4, H/2, W/2).
    """
    if (library := native.library_for(before, after, places, said)) is not None:
        return _by_native_code(library, before, after, places, said)
    there = views(before, after, 2 * double(places)).chunk(len(VIEWS), 1)
    weights = double(said).softmax(1).to(before.dtype)
    average = sum(
        (weight[:, None] * view for weight, view in zip(weights.unbind(1), there, strict=True)),
        torch.zeros_like(before),
    )
    full = torch.cat((*(view - average for view in there), average - 0.5), 1)
    return average, F.pixel_unshuffle(full, 2)


def double(x: Tensor) -> Tensor:
    """Maps (B, C, h, w) of twice the size, bilinearly."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _by_native_code(
    library: Library, before: Tensor, after: Tensor, places: Tensor, said: Tensor
) -> tuple[Tensor, Tensor]:
    height, width = places.shape[2:]
    frames = [x.contiguous() for x in (before, after)]
    maps = [x if x.stride(2) == width * x.stride(3) else x.contiguous() for x in (places, said)]
    apart = [x.stride(dim) for x in maps for dim in (1, 3)]
    average = torch.empty_like(frames[0])
    made = region.pixels((len(before), 4 * MERGED, height, width), before.dtype, before.device)
    settings = (*apart, height, width, torch.get_num_threads())
    for_each_sample(library.blend_candidates, (*frames, *maps, average, made), *settings)
    return average, made
