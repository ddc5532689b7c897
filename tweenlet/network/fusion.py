"""Fusion: a grid of convolutions that merges the candidates of all scales into one draft (the paper's GridNet).

    {scale: candidates (B, C, scale H, scale W)}  ->  draft (B, 3, H, W)

    scale 2    ->  lateral -> lateral -> (lateral -> lateral)
                     | down     | down       ^ (up)     ^ (up)
    scale 1    ->  lateral -> lateral ->  lateral -> lateral -> final -> draft
                     | down     | down       ^ up       ^ up
    scale 1/2  ->  lateral -> lateral ->  lateral -> lateral

The blocks in brackets never reach the draft: they are in the published checkpoints, so they are parameters here
(frozen), but they are not computed. A coarse row without candidates starts from the row above it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

DOWN_COLUMNS = (0, 1)
UP_COLUMNS = (2, 3)


class Lateral(nn.Module):
    """PReLU, convolution, PReLU, convolution, plus the input (through a convolution where the width changes)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.path = nn.Sequential(*_pair(inputs, outputs))
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h, w)."""
        total: Tensor = self.path(x) + self.shortcut(x)
        return total


class Fusion(nn.Module):
    """The grid: one row per scale with its width, four columns; ``candidates`` = channels that enter each row."""

    def __init__(self, scales: tuple[float, ...], widths: tuple[int, ...], candidates: Mapping[float, int]):
        super().__init__()
        self.scales = scales
        self.out_row = scales.index(1.0)
        rows = range(len(scales))
        self.lateral = nn.ModuleList(
            nn.ModuleDict(
                {
                    str(column): Lateral(widths[row] if column else candidates[scales[row]], widths[row])
                    for column in (*DOWN_COLUMNS, *UP_COLUMNS)
                    if column or candidates.get(scales[row])
                }
            )
            for row in rows
        )
        self.down = nn.ModuleList(
            nn.ModuleList(nn.Sequential(*_pair(widths[row], widths[row + 1], stride=2)) for _ in DOWN_COLUMNS)
            for row in rows[:-1]
        )
        self.up = nn.ModuleList(
            nn.ModuleList(
                nn.Sequential(
                    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                    *_pair(widths[row + 1], widths[row]),
                )
                for _ in UP_COLUMNS
            )
            for row in rows[:-1]
        )
        self.final = Lateral(widths[self.out_row], 3)
        for block in self.unused():
            block.requires_grad_(False)

    def unused(self) -> list[nn.Module]:
        """The blocks in brackets: those that never reach the draft."""
        laterals = [self.lateral[row][str(c)] for row in range(self.out_row) for c in UP_COLUMNS]  # type: ignore[index]
        return [*laterals, *self.up[: self.out_row]]

    def forward(self, candidates: Mapping[float, Tensor]) -> Tensor:
        """Candidates by scale, (B, C, scale H, scale W) -> the draft (B, 3, H, W)."""
        row: list[Tensor | None] = [candidates.get(scale) for scale in self.scales]
        for column in DOWN_COLUMNS:
            for i in range(len(row)):
                total = None if row[i] is None else self.lateral[i][str(column)](row[i])  # type: ignore[index]
                if i:
                    above = self.down[i - 1][column](row[i - 1])  # type: ignore[index]
                    total = above if total is None else total + above
                row[i] = total
        for number, column in enumerate(UP_COLUMNS):
            for i in reversed(range(self.out_row, len(row))):
                total = self.lateral[i][str(column)](row[i])  # type: ignore[index]
                if i + 1 < len(row):
                    total = total + self.up[i][number](row[i + 1])  # type: ignore[index]
                row[i] = total
        draft: Tensor = self.final(row[self.out_row])
        return draft


def _pair(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.PReLU(),
        nn.Conv2d(inputs, outputs, 3, stride, 1),
        nn.PReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
    ]
