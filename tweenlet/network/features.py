"""Features: a U-shaped multi-scale ResNeXt that looks at the two middle frames (the paper's UMS-ResNext).

    before, after (B, 3, H, W)  ->  (B, widths[0], H/2, W/2)

    [before, after] - mean
       |  down 0        1/2                    up 0 --> out
       |  down 1        1/4  ---- + ---------- up 1
       |  down 2        1/8  ---- + ------- up 2
       +- down 3        1/16 ---- + -- bottom

A block is two parallel ResNeXt branches with a small and a large kernel; each makes half of the channels,
which are concatenated and gated. The drawing is for four widths; any number works.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from tweenlet.network.blocks import ChannelGate, Tile, WholeFrameLayer
from tweenlet.network.channels import ChannelGraph, Layout, group

MEAN_RGB = (0.4631, 0.4352, 0.3990)
GROUPS = 32
REDUCTION = 16


class Branch(nn.Module):
    """One ResNeXt bottleneck: 1x1, grouped ``kernel`` (strided or transposed), 1x1, plus a shortcut."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, up: bool):
        super().__init__()
        inner = outputs * 4 // 64 * GROUPS

        def resize(from_width: int, to_width: int, size: int, groups: int) -> nn.Module:
            if up:
                return nn.ConvTranspose2d(
                    from_width, to_width, size, 2, (size - 1) // 2, groups=groups, bias=False
                )
            return nn.Conv2d(from_width, to_width, size, stride, size // 2, groups=groups, bias=False)

        self.reduce = nn.Sequential(nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner))
        self.grouped = nn.Sequential(resize(inner, inner, kernel, GROUPS), nn.BatchNorm2d(inner))
        self.expand = nn.Sequential(nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        # a strided 1x1 is a plain one on every other pixel; this form because oneDNN writes beyond its
        # memory in the gradient of a strided one, channels last, with fewer than 16 inputs
        self.stride_1x1 = 1 if up else stride
        fetch = resize(inputs, outputs, 2, 1) if up else nn.Conv2d(inputs, outputs, 1, bias=False)
        self.shortcut = nn.Sequential(fetch, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h', w')."""
        inner = self.grouped(self.reduce(x).relu()).relu()
        total: Tensor = self.expand(inner) + self.shortcut(x[..., :: self.stride_1x1, :: self.stride_1x1])
        return total.relu()


class Block(WholeFrameLayer):
    """A small and a large :class:`Branch`, concatenated and gated; ``stride`` 1 or 2, or ``up`` by 2."""

    def __init__(
        self, inputs: int, outputs: int, kernels: tuple[int, int], stride: int = 1, up: bool = False
    ):
        super().__init__()
        self.small = Branch(inputs, outputs // 2, kernels[0], stride, up)
        self.large = Branch(inputs, outputs // 2, kernels[1], stride, up)
        hidden = outputs // REDUCTION
        self.gate = ChannelGate(
            nn.Flatten(), nn.Linear(outputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
        )

    def forward(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h', w')."""
        joined: Tensor = self.gate(torch.cat((self.small(x), self.large(x)), 1), tile)
        return joined

    def declare_channels(self, graph: ChannelGraph, inputs: Layout, outputs: Layout, width: str) -> None:
        """State which channels enter and leave; the two halves of ``outputs`` are chosen independently."""
        for branch, half in ((self.small, outputs[:1]), (self.large, outputs[1:])):
            graph.connect(inputs, half, branch.reduce, branch.grouped, branch.expand, width=width)
            graph.connect(inputs, half, branch.shortcut, width=width)
        graph.connect(outputs, outputs, self.gate, width=width)


class Features(nn.Module):
    """The U-net of blocks; H and W are multiples of 2 ** len(widths)."""

    mean: Tensor

    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        large = [7 if level < 2 else 5 for level in range(len(widths))]
        inputs = (6, *widths[:-1])
        self.down = nn.ModuleList(
            Block(i, o, (3, k), stride=2) for i, o, k in zip(inputs, widths, large, strict=True)
        )
        self.bottom = Block(widths[-1], widths[-1], (3, 5))
        self.up = nn.ModuleList(
            Block(widths[level + 1], widths[level], (4, large[level] + 1), up=True)
            for level in range(len(widths) - 1)
        )
        self.register_buffer("mean", torch.tensor(MEAN_RGB).view(3, 1, 1), persistent=False)

    def forward(self, before: Tensor, after: Tensor, tile: Tile | None = None) -> Tensor:
        """Frames (B, 3, H, W) in [0, 1] -> features (B, widths[0], H/2, W/2)."""
        return self.forward_joined(torch.cat((before - self.mean, after - self.mean), 1), tile)

    def forward_joined(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """Two frames concatenated, (B, 6, H, W), with their mean subtracted -> as :meth:`forward`."""
        levels = []
        for block in self.down:
            x = block(x, tile)
            levels.append(x)
        x = self.bottom(x, tile)
        for block, level in zip(reversed(self.up), reversed(levels[1:]), strict=True):
            x = block(x + level, tile)
        return x

    def declare_channels(self, graph: ChannelGraph) -> Layout:
        """State which channels enter and leave each block; returns those that leave the last."""

        def level(width: int, keep: int) -> Layout:
            return group(width // 2, keep // 2) + group(width // 2, keep // 2)

        widths = graph.widths("features")
        names = [f"features.{number}" for number in range(len(widths))]
        down = [level(*each) for each in widths]
        up = [level(*widths[0]), *down[1:]]  # added to the down path, except the finest
        for block, inputs, outputs, name in zip(self.down, (group(6), *down[:-1]), down, names, strict=True):
            cast(Block, block).declare_channels(graph, inputs, outputs, name)
        self.bottom.declare_channels(graph, down[-1], up[-1], names[-1])
        for block, (outputs, inputs), name in zip(self.up, pairwise(up), names[:-1], strict=True):
            cast(Block, block).declare_channels(graph, inputs, outputs, name)
        return up[0]
