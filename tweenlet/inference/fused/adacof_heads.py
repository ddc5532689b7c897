"""The kernels' heads for inference: one stack of a head after the other, what is large never whole.

    small stacks -> taps -> native code: enlarged, convolved, and the frame as they see it, pixel by pixel
                      |
                      +---> without it, some rows at a time: Enlarge -> AdaCoF

A stack enlarges its taps and convolves them after that. Both are linear, so the columns are enlarged first,
then each row of the 3x3 kernel is applied by itself, and last the rows are enlarged and summed as one small
matrix product: a third of the multiply-adds.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.inference.fused.fuse import prepared
from tweenlet.inference.fused.layers import Winograd, channels_last
from tweenlet.network.adacof_heads import SCALE_NAMES, Kernels
from tweenlet.network.blocks import Tile, corner_aligned, spread
from tweenlet.ops.adacof import adacof_pixels, surface_table
from tweenlet.ops.cpu import adacof_head
from tweenlet.ops.cpu.arena import empty_channels_last

STRIP = 32
"""Rows made at once of what is enlarged: few enough for a cache, enough for their borders not to count."""


KINDS = ("weight", "rows", "columns")
"""The stacks of a head."""


class FastKernels(nn.Module):
    """:class:`~tweenlet.network.adacof_heads.Kernels` one head at a time, what is large in strips."""

    def __init__(self, kernels: Kernels, dtype: torch.dtype, products: torch.dtype):
        super().__init__()
        self.scales, self.dilation = kernels.scales, kernels.dilation
        self.plain = deepcopy(kernels, {id(kernels.heads): nn.ModuleDict()})  # without its heads
        self.small = nn.ModuleDict()  # by head and kind: what runs at the size of the features
        self.large = nn.ModuleDict()  # by head and kind: the layer after enlarging, where there is one
        self._layers: dict[str, adacof_head.PackedLayers] = {}  # by head: the three of them, for native code
        for name, head in kernels.heads.items():
            for kind in KINDS:
                stack = list(getattr(head, kind))
                small = prepared(nn.Sequential(*stack[:6]), dtype, products)
                if isinstance(small[-1], Winograd):
                    small[-1].makes = torch.float32  # weights and places
                self.small[f"{name}_{kind}"] = small
                for layer in stack[7:]:
                    assert isinstance(layer, nn.Conv2d)
                    self.large[f"{name}_{kind}"] = Enlarge(layer, dtype)

    def forward(
        self, features: Tensor, before: Tensor, after: Tensor, tile: Tile | None = None
    ) -> dict[float, Tensor]:
        """As the plain one's; candidates are float32, channels last."""
        batch, _, *size = before.shape
        made = {  # all of them first: then what they are made of leaves no holes between them
            scale: empty_channels_last(
                (batch, 6, *(round(scale * x) for x in size)), torch.float32, before.device
            )
            for scale in self.scales
        }
        for scale, candidates in made.items():
            halves = torch.split(candidates.permute(0, 2, 3, 1), 3, -1)
            for name, frame, into in zip(("before", "after"), (before, after), halves, strict=True):
                head = f"{SCALE_NAMES[scale]}_{name}"
                self._synthesise(head, features, self.plain.resize(frame.float(), scale), into, tile)
        return made

    def _synthesise(
        self, head: str, features: Tensor, frames: Tensor, made: Tensor, tile: Tile | None
    ) -> None:
        """Frames (B, 3, h, w) as their taps see them, into ``made`` (B, h, w, 3)."""
        small = [self.small[f"{head}_{kind}"](features) for kind in KINDS]
        for number, (frame, into) in enumerate(zip(frames, made, strict=True)):
            taps = [x[number : number + 1] for x in small]
            if frame.device.type != "cpu" or self._in_native_code(head, frame, taps, into, tile) is None:
                self._in_strips(head, frame, taps, into, tile)

    def _in_native_code(
        self, head: str, frame: Tensor, small: list[Tensor], into: Tensor, tile: Tile | None
    ) -> Tensor | None:
        """Whole, and returned; None where there is no native code."""
        weight, rows, columns = (x[0].permute(1, 2, 0).float() for x in small)
        if f"{head}_weight" not in self.large:
            return adacof_head.synthesize(frame, weight, rows, columns, self.dilation, True, into)
        enlarge = [self._enlarge(f"{head}_{kind}") for kind in KINDS]
        if head not in self._layers:
            layers = [x.layer for x in enlarge]
            self._layers[head] = adacof_head.pack_layers([x.weight for x in layers], [x.bias for x in layers])
        places = (
            corner_aligned(0, weight.shape[0], frame.shape[1], tile),
            corner_aligned(1, weight.shape[1], frame.shape[2], tile),
        )
        return adacof_head.upsample_and_synthesize(
            frame, weight, rows, columns, self._layers[head], places, self.dilation, into
        )

    def _enlarge(self, name: str) -> Enlarge:
        layer = self.large[name]
        assert isinstance(layer, Enlarge)
        return layer

    def _in_strips(
        self, head: str, frame: Tensor, small: list[Tensor], into: Tensor, tile: Tile | None
    ) -> None:
        """By PyTorch, some rows at a time."""
        height, width = frame.shape[-2:]
        table = surface_table(frame)
        for top in range(0, height, STRIP):
            bottom = min(top + STRIP, height)
            weight, rows, columns = (
                self._taps(f"{head}_{kind}", x, (top, bottom), (height, width), tile).float()
                for kind, x in zip(KINDS, small, strict=True)
            )
            into[top:bottom] = adacof_pixels(table, top, weight.softmax(-1), rows, columns, self.dilation)

    def _taps(
        self, name: str, x: Tensor, rows: tuple[int, int], size: tuple[int, int], tile: Tile | None
    ) -> Tensor:
        """Some ``rows`` of one kind of taps for a frame of ``size``: (rows, width, taps), a copy."""
        if name not in self.large:
            return x[0, :, slice(*rows)].permute(1, 2, 0)
        taps: Tensor = self._enlarge(name)(x, rows, size, tile)
        return taps


class Enlarge(nn.Module):
    """Enlarge taps, corners on corners, and convolve them by ``layer`` (3x3), one strip of rows at a time."""

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype):
        super().__init__()
        self.layer, self.outputs = layer, layer.out_channels
        by_row = (
            layer.weight.detach().permute(2, 0, 1, 3).flatten(0, 1)[:, :, None]
        )  # (3 outputs, inputs, 1, 3)
        self.weight = nn.Parameter(channels_last(by_row.to(dtype)), False)
        bias = torch.zeros_like(by_row[:, 0, 0, 0])
        if layer.bias is not None:
            bias[self.outputs : 2 * self.outputs] = layer.bias.detach()  # once: with the row in the middle
        self.bias = nn.Parameter(bias.to(dtype), False)

    def forward(
        self, x: Tensor, strip: tuple[int, int], size: tuple[int, int], tile: Tile | None = None
    ) -> Tensor:
        """Taps (1, C, h, w) -> the rows of ``strip`` (from, to) of all (height, width, outputs)."""
        (top, bottom), (height, width) = strip, size
        rows = torch.arange(top - 1, bottom + 1, dtype=torch.float64)
        inside = (rows >= 0) & (rows < height)
        places = corner_aligned(0, x.shape[2], height, tile)[rows.long().clamp(0, height - 1)]
        first, last = max(int(places[0]), 0), min(int(places[-1]) + 1, x.shape[2] - 1)
        shares = (1 - (places[:, None] - torch.arange(first, last + 1)).abs()).clamp_min(0) * inside[:, None]
        # output row y takes row k of the kernel from enlarged row y + k - 1
        mix = torch.stack([shares[k : k + bottom - top] for k in range(3)], 1).flatten(1)
        size = (last + 1 - first, width)
        if tile is None:
            wide = F.interpolate(x[:, :, first : last + 1], size, mode="bilinear", align_corners=True)
        else:
            wide = spread(x[:, :, first : last + 1], corner_aligned(1, x.shape[3], width, tile), -1)
        by_row = F.conv2d(wide, self.weight, self.bias, padding=(0, 1))
        by_row = by_row.view(3, self.outputs, *size).permute(0, 2, 3, 1).reshape(3 * size[0], -1)
        return torch.mm(mix.to(by_row), by_row).view(-1, width, self.outputs)
