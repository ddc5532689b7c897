"""AdaCoF heads for inference: full-size taps are never held for the whole frame.

    small stacks -> taps -> native code: upsampled, convolved and used for AdaCoF, pixel by pixel
                      |
                      +---> without native code, in strips of rows: UpsampleConv -> AdaCoF

A stack upsamples its taps and convolves them after that. Both are linear, so the columns are upsampled first,
then each row of the 3x3 kernel is applied by itself, and finally the rows are upsampled and summed as one
small matrix product: a third of the multiply-adds.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.inference.fused.fuse import fuse_for_inference
from tweenlet.inference.fused.layers import Winograd, channels_last
from tweenlet.network.adacof_heads import SCALE_NAMES, MultiFlow
from tweenlet.network.blocks import Tile, aligned_positions, resample_linear
from tweenlet.ops.adacof import adacof_pixels, surface_table
from tweenlet.ops.cpu import adacof_head
from tweenlet.ops.cpu.arena import empty_channels_last

STRIP = 32
"""Rows that PyTorch upsamples at once: few enough for the cache, enough to make strip borders cheap."""
KINDS = ("weight", "rows", "columns")
"""The stacks of a head."""


class FusedMultiFlow(nn.Module):
    """:class:`~tweenlet.network.adacof_heads.MultiFlow`, one head at a time."""

    def __init__(self, plain: MultiFlow, dtype: torch.dtype, compute_dtype: torch.dtype):
        super().__init__()
        self.scales, self.dilation = plain.scales, plain.dilation
        self.plain = deepcopy(plain, {id(plain.heads): nn.ModuleDict()})  # without its heads
        self.small = nn.ModuleDict()  # by head and kind: layers at the size of the features
        self.large = nn.ModuleDict()  # by head and kind: the layer after upsampling, if any
        self._layers: dict[
            str, adacof_head.PackedLayers
        ] = {}  # by head: the three full-size layers, for native code
        for name, head in plain.heads.items():
            for kind in KINDS:
                stack = list(getattr(head, kind))
                small = fuse_for_inference(nn.Sequential(*stack[:6]), dtype, compute_dtype)
                if isinstance(small[-1], Winograd):
                    small[-1].out_dtype = torch.float32  # weights and offsets
                self.small[f"{name}_{kind}"] = small
                for layer in stack[7:]:
                    assert isinstance(layer, nn.Conv2d)
                    self.large[f"{name}_{kind}"] = UpsampleConv(layer, dtype)

    def forward(
        self, features: Tensor, before: Tensor, after: Tensor, tile: Tile | None = None
    ) -> dict[float, Tensor]:
        """Features (B, C, H/2, W/2), frames (B, 3, H, W) -> both candidates, (B, 6, h, w) for each scale.

        Candidates are float32, channels_last.
        """
        batch, _, *size = before.shape
        candidates = {  # all outputs are allocated first, so that temporaries leave no gaps between them
            scale: empty_channels_last(
                (batch, 6, *(round(scale * x) for x in size)), torch.float32, before.device
            )
            for scale in self.scales
        }
        for scale, both in candidates.items():
            halves = torch.split(both.permute(0, 2, 3, 1), 3, -1)
            for name, frame, out in zip(("before", "after"), (before, after), halves, strict=True):
                head = f"{SCALE_NAMES[scale]}_{name}"
                self._synthesize(head, features, self.plain.resize(frame.float(), scale), out, tile)
        return candidates

    def _synthesize(
        self, head: str, features: Tensor, frames: Tensor, out: Tensor, tile: Tile | None
    ) -> None:
        """AdaCoF of frames (B, 3, h, w) by the taps of a head, written to ``out`` (B, h, w, 3)."""
        small = [self.small[f"{head}_{kind}"](features) for kind in KINDS]
        for number, (frame, picture) in enumerate(zip(frames, out, strict=True)):
            taps = [x[number : number + 1] for x in small]
            if frame.device.type != "cpu" or self._run_native(head, frame, taps, picture, tile) is None:
                self._run_in_strips(head, frame, taps, picture, tile)

    def _run_native(
        self, head: str, frame: Tensor, small: list[Tensor], out: Tensor, tile: Tile | None
    ) -> Tensor | None:
        """Run in native code; returns ``out``, or None without native code."""
        weight, rows, columns = (x[0].permute(1, 2, 0).float() for x in small)
        if f"{head}_weight" not in self.large:
            return adacof_head.synthesize(frame, weight, rows, columns, self.dilation, True, out)
        large = [self._large_layer(f"{head}_{kind}") for kind in KINDS]
        if head not in self._layers:
            layers = [x.layer for x in large]
            self._layers[head] = adacof_head.pack_layers([x.weight for x in layers], [x.bias for x in layers])
        positions = (
            aligned_positions(0, weight.shape[0], frame.shape[1], tile),
            aligned_positions(1, weight.shape[1], frame.shape[2], tile),
        )
        return adacof_head.upsample_and_synthesize(
            frame, weight, rows, columns, self._layers[head], positions, self.dilation, out
        )

    def _large_layer(self, name: str) -> UpsampleConv:
        layer = self.large[name]
        assert isinstance(layer, UpsampleConv)
        return layer

    def _run_in_strips(
        self, head: str, frame: Tensor, small: list[Tensor], out: Tensor, tile: Tile | None
    ) -> None:
        """Run in PyTorch, in strips of rows."""
        height, width = frame.shape[-2:]
        table = surface_table(frame)
        for top in range(0, height, STRIP):
            bottom = min(top + STRIP, height)
            weight, rows, columns = (
                self._taps(f"{head}_{kind}", x, (top, bottom), (height, width), tile).float()
                for kind, x in zip(KINDS, small, strict=True)
            )
            out[top:bottom] = adacof_pixels(table, top, weight.softmax(-1), rows, columns, self.dilation)

    def _taps(
        self, name: str, x: Tensor, rows: tuple[int, int], size: tuple[int, int], tile: Tile | None
    ) -> Tensor:
        """``rows`` (from, to) of one kind of taps for a frame of ``size``: (rows, width, taps), a copy."""
        if name not in self.large:
            return x[0, :, slice(*rows)].permute(1, 2, 0)
        taps: Tensor = self._large_layer(name)(x, rows, size, tile)
        return taps


class UpsampleConv(nn.Module):
    """Upsample taps with aligned corners and convolve them by ``layer`` (3x3), a strip of rows at a time."""

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype):
        super().__init__()
        self.layer, self.outputs = layer, layer.out_channels
        by_row = layer.weight.detach().permute(2, 0, 1, 3).flatten(0, 1)[:, :, None]  # (3 K, C, 1, 3)
        self.weight = nn.Parameter(channels_last(by_row.to(dtype)), False)
        bias = torch.zeros_like(by_row[:, 0, 0, 0])
        if layer.bias is not None:
            bias[self.outputs : 2 * self.outputs] = layer.bias.detach()  # once, with the middle row
        self.bias = nn.Parameter(bias.to(dtype), False)

    def forward(
        self, x: Tensor, strip: tuple[int, int], size: tuple[int, int], tile: Tile | None = None
    ) -> Tensor:
        """Taps (1, C, h, w) -> rows ``strip`` (from, to) of (*size, outputs)."""
        (top, bottom), (height, width) = strip, size
        rows = torch.arange(top - 1, bottom + 1, dtype=torch.float64)
        in_frame = (rows >= 0) & (rows < height)
        positions = aligned_positions(0, x.shape[2], height, tile)[rows.long().clamp(0, height - 1)]
        first, last = max(int(positions[0]), 0), min(int(positions[-1]) + 1, x.shape[2] - 1)
        shares = (1 - (positions[:, None] - torch.arange(first, last + 1)).abs()).clamp_min(0) * in_frame[
            :, None
        ]
        # output row y takes row k of the kernel from upsampled row y + k - 1
        mix = torch.stack([shares[k : k + bottom - top] for k in range(3)], 1).flatten(1)
        size = (last + 1 - first, width)
        if tile is None:
            wide = F.interpolate(x[:, :, first : last + 1], size, mode="bilinear", align_corners=True)
        else:
            wide = resample_linear(
                x[:, :, first : last + 1], aligned_positions(1, x.shape[3], width, tile), -1
            )
        by_row = F.conv2d(wide, self.weight, self.bias, padding=(0, 1))
        by_row = by_row.view(3, self.outputs, *size).permute(0, 2, 3, 1).reshape(3 * size[0], -1)
        return torch.mm(mix.to(by_row), by_row).view(-1, width, self.outputs)
