"""AdaCoF, adaptive collaboration of flows: each pixel is a weighted sum of k x k freely positioned samples.

    frame (B, C, H, W) + weight, rows, columns (B, k*k, H, W each)  ->  (B, C, H, W)

    out(p) = sum over taps t of  weight_t(p) * sample(p + dilation * place_t + (rows_t(p), columns_t(p)))

Lee et al., "AdaCoF: Adaptive Collaboration of Flows for Video Frame Interpolation", 2020. ``sample`` is
almost bilinear: the published weights were trained with offsets truncated toward zero instead of floored. An
offset of -1.3 is split into -1 and -0.3, and the pixels at -1 and 0 are extrapolated with the weights 1.3 and
-0.3. Each of the four pixels is clamped to the frame separately.

To gather four neighbours at once, the frame is first converted to the four coefficients of the bilinear
surface through each 2x2 of pixels,  a + b * row + c * column + d * row * column;  one nearest lookup per tap
fetches them.

Without a gradient, ``adacof_pixels`` is faster: it computes some of the rows, from channels-last taps, as
sums over rows of a table. Native code is faster still: ``ops.cpu.adacof_head.synthesize``. If taps need a
gradient on a CPU but the frame does not, ``adacof``'s gradient is explicit and native code computes both; the
picture agrees with PyTorch to the last bit:

    gradient of a pixel  .  (a, b, c, d) that a tap reads  ->  gradient of the tap's weight, row and column
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tweenlet.ops.dispatch import kernel_for

CACHED_ROWS = 8
"""Rows of ``adacof_pixels`` computed at once, so that temporaries stay in the cache."""
MAX_CHANNELS = 4
"""Most channels of a frame that the CPU kernels take."""


def adacof(
    frame: Tensor,
    weight: Tensor,
    rows: Tensor,
    columns: Tensor,
    dilation: int = 1,
    *,
    softmax: bool = False,
) -> Tensor:
    """Synthesise an image from ``frame`` with one kernel of freely positioned taps per pixel.

    Differentiable in all four tensors; the backward pass recomputes each tap instead of keeping it in memory.
    Positions are float32 at least.

    Args:
        frame: (B, C, H, W), any range.
        weight: weights of the taps, row by row, (B, k*k, H, W).
        rows: vertical offsets from the taps of a plain k x k convolution, in pixels, (B, k*k, H, W).
        columns: horizontal offsets, in pixels, (B, k*k, H, W).
        dilation: dilation of that convolution, in pixels.
        softmax: whether ``weight`` are logits, for a softmax over the taps.

    Returns:
        (B, C, H, W), in the dtype of ``frame``.

    Raises:
        ValueError: Shapes do not match.

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
    if frame.is_meta:  # only the shape is needed; looping over the taps would take seconds
        return torch.empty_like(frame)
    if (run := kernel_for(adacof, frame, weight, rows, columns)) is not None:
        return run(frame, weight, rows, columns, dilation, softmax=softmax)
    if softmax:
        weight = weight.softmax(1, dtype=torch.promote_types(weight.dtype, torch.float32))
    precise = torch.promote_types(frame.dtype, torch.float32)
    training = torch.is_grad_enabled() and any(t.requires_grad for t in (frame, weight, rows, columns))
    if training and not frame.requires_grad and frame.device.type == "cpu":
        out: Tensor = _LearntTaps.apply(  # type: ignore[no-untyped-call]
            frame.to(precise), weight, rows, columns, dilation
        )
        return out.to(frame.dtype)
    surface = _surface(frame.to(precise))
    reach = (side - 1) * dilation // 2
    y = torch.arange(height, dtype=precise, device=frame.device)[:, None]
    x = torch.arange(width, dtype=precise, device=frame.device)
    total = torch.zeros_like(frame, dtype=precise)
    # unbind, because its gradient is one stack; the gradient of weight[:, tap] would be as large as weight
    for tap, taps_here in enumerate(zip(weight.unbind(1), rows.unbind(1), columns.unbind(1), strict=True)):
        tap_y, tap_x = y + (tap // side * dilation - reach), x + (tap % side * dilation - reach)
        if training:
            value = checkpoint(
                _tap, surface, *taps_here, tap_y, tap_x, use_reentrant=False, preserve_rng_state=False
            )
        else:
            value = _tap(surface, *taps_here, tap_y, tap_x)
        total = total + value
    return total.to(frame.dtype)


def _surface(frame: Tensor) -> Tensor:
    """Coefficients a, b, c, d of every 2x2 of the frame with a border of one: (B, 4C, H + 1, W + 1)."""
    bordered = F.pad(frame, (1, 1, 1, 1), mode="replicate")
    above, below = bordered[..., :-1, :], bordered[..., 1:, :] - bordered[..., :-1, :]
    return torch.cat([part for line in (above, below) for part in (line[..., :-1], line.diff(dim=-1))], 1)


def _tap(surface: Tensor, weight: Tensor, rows: Tensor, columns: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Contribution (B, C, H, W) of one tap; weight, rows, columns (B, H, W), y (H, 1), x (W,)."""
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


def surface_table(frame: Tensor) -> Tensor:
    """Surface coefficients of ``frame`` (C, H, W) for ``adacof_pixels``, (4, H + 1, W + 1, C)."""
    coefficients = _surface(frame[None])
    return coefficients.view(4, -1, *coefficients.shape[2:]).permute(0, 2, 3, 1).contiguous()


def adacof_pixels(
    table: Tensor, top: int, weight: Tensor, rows: Tensor, columns: Tensor, dilation: int = 1
) -> Tensor:
    """Compute h rows of :func:`adacof`, from ``top`` on, without a gradient.

    The frame is given as a :func:`surface_table`, the taps as (h, W, k*k) in the dtype of the table; ``rows``
    and ``columns`` are overwritten. Returns (h, W, C).
    """
    parts = zip(*(torch.split(taps, CACHED_ROWS) for taps in (weight, rows, columns)), strict=True)
    return torch.cat(
        [_pixels(table, top + CACHED_ROWS * n, w, r, c, dilation) for n, (w, r, c) in enumerate(parts)]
    )


def _pixels(table: Tensor, top: int, weight: Tensor, rows: Tensor, columns: Tensor, dilation: int) -> Tensor:
    channels, taps = table.shape[-1], weight.shape[-1]
    index = _table_rows(table, top, rows, columns, dilation).view(-1, taps)
    along_column, along_row = columns.frac_(), rows.frac_().mul_(weight)
    shares = (weight, weight * along_column, along_row, along_column.mul_(along_row))
    sums = [
        F.embedding_bag(index, part.view(-1, channels), mode="sum", per_sample_weights=share.view(-1, taps))
        for part, share in zip(table, shares, strict=True)
    ]
    return (sums[0].add_(sums[1]).add_(sums[2]).add_(sums[3])).view(*weight.shape[:2], channels)


def _table_rows(table: Tensor, top: int, rows: Tensor, columns: Tensor, dilation: int) -> Tensor:
    """Table row that each tap reads, (h, W, k*k) int32, from offsets of that shape."""
    _, height, wide, _ = table.shape
    side = math.isqrt(rows.shape[-1])
    place = torch.arange(side, dtype=torch.int32, device=table.device) * dilation - (side - 1) * dilation // 2
    # in the table, that begins one pixel outside of the frame
    y = torch.arange(top + 1, top + 1 + rows.shape[0], dtype=torch.int32, device=table.device)
    x = torch.arange(1, rows.shape[1] + 1, dtype=torch.int32, device=table.device)
    y, x = y[:, None, None] + place.repeat_interleave(side), x[:, None] + place.repeat(side)
    row = rows.int().clamp_(-y, height - 1 - y)
    return columns.int().clamp_(-x, wide - 1 - x).add_(row, alpha=wide).add_(y * wide + x)


class _LearntTaps(torch.autograd.Function):
    """:func:`adacof` on a CPU with a gradient for channels-last taps only."""

    @staticmethod
    def forward(
        context: Any, frame: Tensor, weight: Tensor, rows: Tensor, columns: Tensor, dilation: int
    ) -> Tensor:
        context.save_for_backward(frame, weight, rows, columns)
        context.dilation = dilation
        return adacof_forward(frame, weight, rows, columns, dilation)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        frame, *taps = context.saved_tensors
        height, width = frame.shape[-2:]
        for_taps = [x.new_empty((len(x), height, width, x.shape[1])) for x in taps]
        adacof_backward(gradient, frame, taps, context.dilation, for_taps)
        return None, *(x.permute(0, 3, 1, 2) for x in for_taps), None


def adacof_forward(frame: Tensor, weight: Tensor, rows: Tensor, columns: Tensor, dilation: int) -> Tensor:
    """:func:`adacof` on a CPU with a gradient for the taps, bit-exact."""
    run = kernel_for(adacof_forward, frame) if frame.shape[1] <= MAX_CHANNELS else None
    return (run or adacof)(frame, weight, rows, columns, dilation)


def adacof_backward(
    gradient: Tensor, frame: Tensor, taps: Sequence[Tensor], dilation: int, for_taps: Sequence[Tensor]
) -> None:
    """Write the gradients of weight, rows and columns into ``for_taps``, (B, H, W, k*k) each.

    Args:
        gradient: gradient of the picture, (B, C, H, W).
        frame: (B, C, H, W).
        taps: weight, rows and columns, (B, k*k, H, W) each.
        dilation: as in :func:`adacof`.
        for_taps: outputs for the gradients, of any floating dtypes.

    """
    run = kernel_for(adacof_backward, gradient, frame) if frame.shape[1] <= MAX_CHANNELS else None
    if run is not None:
        run(gradient, frame, taps, dilation, for_taps)
        return
    for number, picture in enumerate(frame):
        table = surface_table(picture)
        by_colour = table.permute(3, 1, 2, 0).flatten(1, 2).contiguous()
        for top in range(0, frame.shape[-2], CACHED_ROWS):
            weight, rows, columns = (_strip(x, number, top).to(frame.dtype) for x in taps)
            index = _table_rows(table, top, rows, columns, dilation).flatten()
            slopes = _slopes(by_colour, index, _strip(gradient, number, top).flatten(0, 1))
            here, along_column, along_row, along_both = slopes.view(*weight.shape, 4).unbind(-1)
            part_row, part_column = rows.frac_(), columns.frac_()
            on_row = torch.addcmul(along_row, part_column, along_both)
            on_column = torch.addcmul(along_column, part_row, along_both)
            on_weight = torch.addcmul(here, part_column, along_column).addcmul_(part_row, on_row)
            parts = on_weight, on_row.mul_(weight), on_column.mul_(weight)
            for whole, part in zip(for_taps, parts, strict=True):
                whole[number, top : top + CACHED_ROWS] = part


def _strip(x: Tensor, number: int, top: int) -> Tensor:
    """A channels-last copy (h, W, C) of a few rows of one sample of (B, C, H, W)."""
    return x[number, :, top : top + CACHED_ROWS].permute(1, 2, 0).clone(memory_format=torch.contiguous_format)


def _slopes(by_colour: Tensor, index: Tensor, gradient: Tensor) -> Tensor:
    """The gradient (P, C) of pixels times the coefficients that each of their taps reads: (P, taps * 4)."""
    total = gradient.new_zeros((len(gradient), 4 * len(index) // len(gradient)))
    for number, coefficients in enumerate(by_colour):
        read = coefficients.index_select(0, index).view_as(total)
        total.addcmul_(read, gradient[:, number, None])
    return total
