"""Texture: a 3-D U-net over the four frames and the draft that adds texture (the paper's TENet).

    frames (B, 4, 3, H, W), draft (B, 3, H, W)  ->  residual of the draft (B, 3, H, W)

    (I0, I1, draft, I2, I3)
       |  stem     1/2  ------------------------ decoder 4 -> five slices side by side -> fuse -> out
       |  stage 0  1/2  ------------------ decoder 3
       |  stage 1  1/4  ------------- decoder 2
       |  stage 2  1/8  -------- decoder 1
       +- stage 3  1/8  --- decoder 0

Time is never strided: all five slices are kept up to the fuse. H and W are multiples of 8.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.network.blocks import ChannelGate, PerSliceConv3d, Tile, WholeFrameLayer, run
from tweenlet.network.channels import ChannelGraph, Layout, group

SLICES = 5


class Residual(WholeFrameLayer):
    """Two 3x3x3 convolutions and a gate, plus the input (projected where the shape changes)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.first = nn.Sequential(_conv(inputs, outputs, 3, stride), nn.BatchNorm3d(outputs))
        self.second = nn.Sequential(_conv(outputs, outputs, 3, 1), nn.BatchNorm3d(outputs))
        self.gate = _gate(outputs)
        self.shortcut = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm3d(outputs))
        )

    def forward(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """(B, inputs, 5, h, w) -> (B, outputs, 5, h / stride, w / stride)."""
        total: Tensor = self.gate(self.second(self.first(x).relu()), tile) + self.shortcut(x)
        return total.relu()

    def declare_channels(self, graph: ChannelGraph, inputs: Layout, outputs: Layout, width: str) -> Layout:
        """State which channels enter and leave; returns the latter (``inputs`` beside an identity)."""
        outputs = graph.behind(self.shortcut, inputs, outputs)
        graph.connect(inputs, outputs, self.first, self.second, width=width)
        graph.connect(outputs, outputs, self.gate, width=width)
        graph.shortcut(inputs, outputs, self.shortcut, width=width)
        return outputs


class Texture(nn.Module):
    """The U-net: four widths, finest first, and the width ``fused`` at which the slices are joined."""

    def __init__(self, widths: tuple[int, ...], fused: int):
        super().__init__()
        w0, w1, w2, w3 = widths
        self.stem = nn.Sequential(
            nn.Conv3d(3, w0, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(w0)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(Residual(i, o, stride), Residual(o, o, 1))
            for i, o, stride in ((w0, w0, 1), (w0, w1, 2), (w1, w2, 2), (w2, w3, 1))
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose3d(i, o, (3, 4, 4), (1, 2, 2), 1) if up else PerSliceConv3d(i, o, 3),
                _gate(o),
                nn.BatchNorm3d(o),
            )
            for i, o, up in (
                (w3, w2, False),
                (2 * w2, w1, True),
                (2 * w1, w0, True),
                (2 * w0, w0, False),
                (2 * w0, w0, True),
            )
        )
        self.fuse = nn.Sequential(nn.Conv2d(SLICES * w0, fused, 1, bias=False), nn.BatchNorm2d(fused))
        self.out = nn.Conv2d(fused, 3, 7)

    def forward(self, frames: Tensor, draft: Tensor, tile: Tile | None = None) -> Tensor:
        """Frames (B, 4, 3, H, W) and draft (B, 3, H, W) in [0, 1] -> residual (B, 3, H, W)."""
        slices = torch.cat((frames[:, :2], draft[:, None], frames[:, 2:]), 1).transpose(1, 2)
        x = self.stem(slices).relu()
        levels = [x]
        for stage in self.stages:
            x = run(stage, x, tile)
            levels.append(x)
        levels.pop()
        x = F.leaky_relu(run(self.decoder[0], x, tile), 0.2)
        for block in self.decoder[1:]:
            x = F.leaky_relu(run(block, torch.cat((x, levels.pop()), 1), tile), 0.2)
        x = F.leaky_relu(self.fuse(x.transpose(1, 2).flatten(1, 2)), 0.2)
        added: Tensor = self.out(F.pad(x, (3, 3, 3, 3), mode="reflect"))
        return added

    def declare_channels(self, graph: ChannelGraph) -> None:
        """State which channels enter and leave each layer."""
        widths = graph.widths("texture")
        x = group(*widths[0])
        graph.connect(group(3), x, self.stem, width="texture.0")
        levels = [x]
        for number, (stage, each) in enumerate(zip(self.stages, widths, strict=True)):
            for block in cast(nn.Sequential, stage):
                x = cast(Residual, block).declare_channels(graph, x, group(*each), f"texture.{number}")
            levels.append(x)
        levels.pop()
        skip: Layout = ()
        for stack, level in zip(self.decoder, (2, 1, 0, 0, 0), strict=True):
            layer, gate, norm = cast(nn.Sequential, stack)
            outputs = group(*widths[level])
            graph.connect(x + skip, outputs, layer, norm, width=f"texture.{level}")
            graph.connect(outputs, outputs, gate, width=f"texture.{level}")
            x, skip = outputs, levels.pop() if levels else ()
        fused = graph.fresh(self.fuse[0])
        graph.connect(SLICES * x, fused, self.fuse, width="texture_out")
        graph.connect(fused, group(3), self.out)


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> PerSliceConv3d:
    return PerSliceConv3d(inputs, outputs, kernel, (1, stride, stride), bias=False)


def _gate(width: int) -> ChannelGate:
    return ChannelGate(nn.Conv3d(width, width, 1))
