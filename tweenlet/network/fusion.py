"""Fusion: a grid of convolutions that merges the candidates of all scales into a draft (the paper's GridNet).

    {scale: candidates (B, C, scale H, scale W)}  ->  draft (B, 3, H, W)

    scale 2    ->  lateral -> lateral -> (lateral -> lateral)
                     | down     | down       ^ (up)     ^ (up)
    scale 1    ->  lateral -> lateral ->  lateral -> lateral -> final -> draft
                     | down     | down       ^ up       ^ up
    scale 1/2  ->  lateral -> lateral ->  lateral -> lateral

The blocks in brackets never reach the draft: they are in the published checkpoints, so they are parameters
here (frozen), but they are not computed. A coarse row without candidates starts from the row above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from tweenlet.network.blocks import PReLU
from tweenlet.network.channels import ChannelGraph, Layout, group


class Lateral(nn.Module):
    """PReLU, convolution, PReLU, convolution, plus the input (convolved where the width changes)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.path = nn.Sequential(*_pair(inputs, outputs))
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h, w)."""
        total: Tensor = self.path(x) + self.shortcut(x)
        return total

    def declare_channels(
        self, graph: ChannelGraph, inputs: Layout, outputs: Layout, width: str | None = None
    ) -> None:
        """State which channels enter and leave."""
        graph.connect(inputs, outputs, self.path, width=width)
        graph.shortcut(inputs, outputs, self.shortcut, width=width)


class Fusion(nn.Module):
    """The grid: a row for each scale, four columns; ``candidates`` = how many channels enter each row."""

    def __init__(self, scales: tuple[float, ...], widths: tuple[int, ...], candidates: Mapping[float, int]):
        super().__init__()
        self.scales = scales
        self.out_row = scales.index(1.0)
        self.lateral = nn.ModuleDict()  # by "row_column"
        self.down = nn.ModuleDict()  # by "row_number", from that row to the next
        self.up = nn.ModuleDict()  # by "row_number", from the next row to that one
        for row, (scale, width) in enumerate(zip(scales, widths, strict=True)):
            entering = candidates.get(scale, 0)
            if entering:
                self.lateral[f"{row}_0"] = Lateral(entering, width)
            for column in (1, 2, 3):
                self.lateral[f"{row}_{column}"] = Lateral(width, width)
        for row, (finer, coarser) in enumerate(pairwise(widths)):
            for number in (0, 1):
                self.down[f"{row}_{number}"] = nn.Sequential(*_pair(finer, coarser, stride=2))
                enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
                self.up[f"{row}_{number}"] = nn.Sequential(enlarge, *_pair(coarser, finer))
        self.final = Lateral(widths[self.out_row], 3)
        for row in range(self.out_row):
            for block in self.unused_blocks(row):
                block.requires_grad_(False)

    def unused_blocks(self, row: int) -> list[nn.Module]:
        """The blocks of a row finer than the draft that never reach the draft (in brackets above)."""
        return [self.lateral[f"{row}_2"], self.up[f"{row}_0"], self.lateral[f"{row}_3"], self.up[f"{row}_1"]]

    def forward(self, candidates: Mapping[float, Tensor]) -> Tensor:
        """Candidates by scale, (B, C, scale H, scale W) -> the draft (B, 3, H, W)."""
        rows: list[Tensor] = []
        for row, scale in enumerate(self.scales):
            terms = [self.lateral[f"{row}_0"](candidates[scale])] if f"{row}_0" in self.lateral else []
            if row:
                terms.append(self.down[f"{row - 1}_0"](rows[-1]))
            rows.append(sum(terms[1:], terms[0]))
        for row in range(len(rows)):
            rows[row] = self.lateral[f"{row}_1"](rows[row])
            if row:
                rows[row] = rows[row] + self.down[f"{row - 1}_1"](rows[row - 1])
        for number, column in enumerate((2, 3)):
            for row in reversed(range(self.out_row, len(rows))):
                rows[row] = self.lateral[f"{row}_{column}"](rows[row])
                if row + 1 < len(rows):
                    rows[row] = rows[row] + self.up[f"{row}_{number}"](rows[row + 1])
        draft: Tensor = self.final(rows[self.out_row])
        return draft

    def declare_channels(self, graph: ChannelGraph, candidates: Mapping[float, Layout]) -> None:
        """State which channels enter and leave each block, given the candidates at each scale."""
        rows = [group(*each) for each in graph.widths("grid")]
        names = [f"grid.{scale:g}" for scale in self.scales]
        for row, (scale, name) in enumerate(zip(self.scales, names, strict=True)):
            if f"{row}_0" in self.lateral:
                first = cast(Lateral, self.lateral[f"{row}_0"])
                rows[row] = graph.behind(first.shortcut, candidates[scale], rows[row])
                first.declare_channels(graph, candidates[scale], rows[row], name)
            for column in (1, 2, 3):
                lateral = cast(Lateral, self.lateral[f"{row}_{column}"])
                lateral.declare_channels(graph, rows[row], rows[row], name)
        for row, (finer, coarser) in enumerate(pairwise(rows)):
            for number in (0, 1):
                graph.connect(finer, coarser, self.down[f"{row}_{number}"], width=names[row + 1])
                graph.connect(coarser, finer, self.up[f"{row}_{number}"], width=names[row])
        self.final.declare_channels(graph, rows[self.out_row], group(3))


def _pair(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [
        PReLU(),
        nn.Conv2d(inputs, outputs, 3, stride, 1),
        PReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
    ]
