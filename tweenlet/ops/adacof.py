"""AdaCoF, adaptive collaboration of flows: each pixel is a weighted sum of k x k freely placed samples.

    frame (B, C, H, W) + weight, rows, columns (B, k*k, H, W each)  ->  (B, C, H, W)

    out(p) = sum over taps t of  weight_t(p) * sample(p + dilation * place_t + (rows_t(p), columns_t(p)))

Lee et al., "AdaCoF: Adaptive Collaboration of Flows for Video Frame Interpolation", 2020. ``sample`` mixes
four pixels, but not quite bilinearly: the published weights were trained with offsets truncated toward zero,
not floored. An offset of -1.3 is so split into -1 and -0.3, and the pixels at -1 and 0 are extrapolated with
the weights 1.3 and -0.3. Each of the four pixels is clamped to the frame by itself.

To gather four neighbours at once, the frame is first turned into the four coefficients of the surface that
runs through each 2x2 of pixels,  a + b * row + c * column + d * row * column;  one nearest lookup per tap
fetches them.

Where no gradient is wanted, ``adacof_pixels`` is faster: it makes some of the pixels, from taps that lie
pixel by pixel, as sums over rows of a table.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def adacof(frame: Tensor, weight: Tensor, rows: Tensor, columns: Tensor, dilation: int = 1) -> Tensor:
    """Synthesise a picture from ``frame`` (B, C, H, W) with one kernel of free taps per pixel.

    ``weight``, ``rows`` and ``columns`` (B, k*k, H, W) hold the taps row by row: their weights and their
    offsets in pixels from the places of a plain k x k convolution with ``dilation``. Positions are float32 at
    least. Differentiable in all four; for the gradient each tap is computed a second time instead of being
    kept in memory. ValueError for shapes that do not match.
    """
    batch, _, height, width = frame.shape
    side = math.isqrt(weight.shape[1])
    if side * side != weight.shape[1] or weight.shape != (batch, side * side, height, width):
        raise ValueError(
            f"expected weights of shape ({batch}, k*k, {height}, {width}), got {tuple(weight.shape)}"
        )
    if not weight.shape == rows.shape == columns.shape:
        raise ValueError(
            f"expected weights and offsets of one shape, got {tuple(weight.shape)}, {tuple(rows.shape)} and "
            f"{tuple(columns.shape)}"
        )
    if frame.is_meta:  # only the shape is asked for; walking the taps would take seconds
        return torch.empty_like(frame)
    precise = torch.promote_types(frame.dtype, torch.float32)
    surface = _surface(frame.to(precise))
    reach = (side - 1) * dilation // 2
    y = torch.arange(height, dtype=precise, device=frame.device)[:, None]
    x = torch.arange(width, dtype=precise, device=frame.device)
    training = torch.is_grad_enabled() and any(t.requires_grad for t in (frame, weight, rows, columns))
    total = torch.zeros_like(frame, dtype=precise)
    # unbind, because its gradient is one stack; the gradient of weight[:, tap] would be as large as weight
    for tap, taken in enumerate(zip(weight.unbind(1), rows.unbind(1), columns.unbind(1), strict=True)):
        place_y, place_x = y + (tap // side * dilation - reach), x + (tap % side * dilation - reach)
        if training:
            value = checkpoint(
                _tap, surface, *taken, place_y, place_x, use_reentrant=False, preserve_rng_state=False
            )
        else:
            value = _tap(surface, *taken, place_y, place_x)
        total = total + value
    return total.to(frame.dtype)


def _surface(frame: Tensor) -> Tensor:
    """Coefficients a, b, c, d of every 2x2 of the frame with a border of one: (B, 4C, H + 1, W + 1)."""
    bordered = F.pad(frame, (1, 1, 1, 1), mode="replicate")
    above, below = bordered[..., :-1, :], bordered[..., 1:, :] - bordered[..., :-1, :]
    return torch.cat([part for line in (above, below) for part in (line[..., :-1], line.diff(dim=-1))], 1)


def _tap(surface: Tensor, weight: Tensor, rows: Tensor, columns: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """One tap's share of the sum, (B, C, H, W); weight, rows, columns (B, H, W), y (H, 1), x (W,)."""
    height, width = surface.shape[-2:]
    rows, columns = rows.to(surface.dtype), columns.to(surface.dtype)
    whole_rows, whole_columns = rows.detach().trunc(), columns.detach().trunc()
    part_row, part_column = (rows - whole_rows)[:, None], (columns - whole_columns)[:, None]
    row = (y + whole_rows).clamp(-1, height - 2) + 1  # of the 2x2 that begins there; the border makes it + 1
    column = (x + whole_columns).clamp(-1, width - 2) + 1
    grid = torch.stack(((2 * column + 1) / width - 1, (2 * row + 1) / height - 1), -1)
    looked_up = F.grid_sample(surface, grid, mode="nearest", align_corners=False)
    here, along_column, along_row, along_both = looked_up.chunk(4, 1)
    sample = here + part_column * along_column + part_row * (along_row + part_column * along_both)
    return weight[:, None].to(surface.dtype) * sample


def bordered(frame: Tensor) -> Tensor:
    """``frame`` (C, H, W) as ``adacof_pixels`` reads it: (H + 2, W + 2, C), its border repeated once."""
    return F.pad(frame[None], (1, 1, 1, 1), mode="replicate")[0].permute(1, 2, 0).contiguous()


def adacof_pixels(
    pixels: Tensor, top: int, weight: Tensor, rows: Tensor, columns: Tensor, dilation: int = 1
) -> Tensor:
    """Some rows of :func:`adacof`, those from ``top`` on, without a gradient.

    ``pixels`` (H + 2, W + 2, C) are the frame, :func:`bordered`. The taps (h, W, k*k) are those of the h rows,
    float32 or float64 like ``pixels``; ``rows`` and ``columns`` are overwritten. Returns (h, W, C).
    """
    wide = pixels.shape[1]
    height, width, taps = weight.shape
    side = math.isqrt(taps)
    place = torch.arange(side, dtype=torch.int32, device=pixels.device) * dilation - (side - 1) * dilation // 2
    tap_y, tap_x = place.repeat_interleave(side), place.repeat(side)
    y = torch.arange(top, top + height, dtype=torch.int32, device=pixels.device)[:, None, None] + tap_y
    x = torch.arange(width, dtype=torch.int32, device=pixels.device)[:, None] + tap_x
    # the pixel before the four that a tap mixes, clamped; in the table, whose border makes it + 1
    row = torch.maximum(torch.minimum(rows.int(), pixels.shape[0] - 3 - y), -1 - y)
    column = torch.maximum(torch.minimum(columns.int(), wide - 3 - x), -1 - x)
    index = column.add_(row, alpha=wide).add_(x + (y + 1) * wide + 1).view(-1, taps)
    lower = weight * rows.frac_()
    right = columns.frac_()
    lower_right = lower * right
    upper = weight - lower
    upper_right = upper * right
    shares = (upper - upper_right, upper_right, lower - lower_right, lower_right)
    table = pixels.view(-1, pixels.shape[2])
    sums = [
        F.embedding_bag(index, table[start:], mode="sum", per_sample_weights=share.view(-1, taps))
        for start, share in zip((0, 1, wide, wide + 1), shares, strict=True)
    ]
    return (sums[0] + sums[1] + sums[2] + sums[3]).view(height, width, -1)
