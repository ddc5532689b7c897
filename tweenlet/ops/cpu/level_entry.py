"""The first layer of a level of an intermediate-flow network, on inputs that are never whole (csrc/levels.c).

frames with features --> padded_pixels --+
estimates of coarser levels -------------+--> inputs of some cells, in a core's cache --> level_entry --> x
                             layer --> pack_entry --+
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.ops.cpu.arena import empty_channels_last
from tweenlet.ops.cpu.bindings import Entry, Estimate, array
from tweenlet.ops.cpu.library import require_library
from tweenlet.ops.cpu.packing import pack_weights, pad_channels, vector_lanes

COLOURS, FLOWS = 3, 4
WIDE = 8
"""Numbers that sampling reads at once: pixels are padded to multiples."""


@dataclass(frozen=True)
class PackedEntry:
    """Packed weights of the first layer of a level."""

    kernels: Tensor
    bias: Tensor
    outputs: int
    slope: float


def pack_entry(layer: nn.Conv2d, slope: float, features: int, more: int = 0, unit: float = 1) -> PackedEntry:
    """Pack the first layer of a level for native code: 3x3, stride 2, then a leaky activation.

    ``more`` is the number of inputs after the flows. All these count pixels of the frame, each of which is
    ``unit`` of those of the level, which the layer expects.
    """
    outputs, inputs = layer.weight.shape[:2]
    time = 2 * (COLOURS + features)
    before = [*range(COLOURS), *range(2 * COLOURS, 2 * COLOURS + features)]
    after = [*range(COLOURS, 2 * COLOURS), *range(2 * COLOURS + features, time)]
    flows = inputs - more - FLOWS
    order = [*before, *after, *range(time + 1, flows), *range(inputs - more, inputs)]
    weight = layer.weight.detach().clone()
    weight[:, inputs - more :] *= unit
    matrix = weight[:, [*order, *range(flows, inputs - more), time]].permute(2, 3, 1, 0)
    matrix = F.pad(matrix.reshape(1, 3, 3 * inputs, outputs), (0, -outputs % vector_lanes()))
    bias = torch.zeros(1) if layer.bias is None else layer.bias.detach()
    return PackedEntry(pack_weights(matrix, torch.float32), pad_channels(bias, outputs), outputs, slope)


def level_entry(
    before: Tensor,
    after: Tensor,
    times: Tensor,
    scale: int,
    estimates: Sequence[Tensor],
    layer: PackedEntry,
) -> Tensor:
    """The first layer of a level on :func:`pooled_level_inputs`, which are never whole: (B, K, h/2, w/2)."""
    out = _new_output(before, scale, layer)
    _enter(before, after, times, scale, estimates, layer, out, None, 1)
    return out


def warped_level_entry(
    before: Tensor,
    after: Tensor,
    times: Tensor,
    scale: int,
    estimate: Tensor,
    layer: PackedEntry,
    *more: Tensor,
) -> tuple[Tensor, Tensor]:
    """The first layer of a level on :func:`level_inputs`: (B, K, h/2, w/2); and the flows (B, 4, h, w)."""
    batch, _, height, width = before.shape
    joined = torch.cat((estimate, *more), 1) if more else estimate
    out = _new_output(before, 1, layer)
    flows = empty_channels_last((batch, FLOWS, height, width), before.dtype, before.device)
    _enter(before, after, times, 1, [joined], layer, out, flows, 1 / scale)
    return out, flows


def _new_output(before: Tensor, scale: int, layer: PackedEntry) -> Tensor:
    sides = (-(-side // scale // 2) for side in before.shape[2:])
    return empty_channels_last((len(before), layer.outputs, *sides), before.dtype, before.device)


def _enter(
    before: Tensor,
    after: Tensor,
    times: Tensor,
    scale: int,
    estimates: Sequence[Tensor],
    layer: PackedEntry,
    out: Tensor,
    flows: Tensor | None,
    unit: float,
) -> None:
    """Run native code on each sample; flows count pixels of which ``unit`` are one of ``before``."""
    _, channels, height, width = before.shape
    before, after, known_channels = padded_pixels(before), padded_pixels(after), estimates[-1].shape[1]
    estimates = adjacent_channels(estimates)
    entry = Entry(layer.kernels, layer.bias, layer.outputs, layer.slope)
    for k, time in enumerate(times.flatten().tolist()):
        require_library().level_entry(
            *(before[k], after[k], pack_estimates(estimates, k, height), len(estimates), entry, out[k]),
            *(None if flows is None else flows[k], time, unit, channels, before.stride(3), known_channels),
            *(height, width, scale, torch.get_num_threads()),
        )


def new_padded_pixels(batch: int, channels: int, height: int, width: int) -> Tensor:
    """An uninitialised image (B, C, H, W), its pixels a multiple of WIDE numbers apart."""
    room = -(-channels // WIDE) * WIDE
    image = empty_channels_last((batch, room, height, width), torch.float32, torch.device("cpu"))
    return image[:, :channels]


def padded_pixels(x: Tensor) -> Tensor:
    """The same image as from :func:`new_padded_pixels`, copied only if needed."""
    pixel = -(-x.shape[1] // WIDE) * WIDE
    if x.stride()[1:] == (1, pixel * x.shape[3], pixel):
        return x
    return new_padded_pixels(*x.shape).copy_(x)


def pack_estimates(estimates: Sequence[Tensor], sample: int, height: int) -> Any:
    """Those of one sample of frames of this height, as a C array, from (B, C, h, w), channels_last."""
    return array(Estimate(x[sample], x.shape[1], height // x.shape[2]) for x in estimates)


def adjacent_channels(images: Sequence[Tensor]) -> list[Tensor]:
    """Images (B, C, h, w), channels_last, copied only if needed."""
    return [x.contiguous(memory_format=torch.channels_last) for x in images]
