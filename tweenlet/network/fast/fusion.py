"""The fusion for inference: its sums made by the convolutions before them, its finest row in bands."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tweenlet.network.fast.blocks import FastLateral
from tweenlet.network.fast.layers import summed
from tweenlet.network.fast.prepare import prepared
from tweenlet.network.fusion import Fusion

BAND = 128
"""Rows of the fusion's row of double size made at once, an even number: its features are large."""


AROUND = 8
"""Rows around a band that count for what it passes down: seven, made even."""


class FastFusion(nn.Module):
    """:class:`~tweenlet.network.fusion.Fusion`, whose sums are made by the convolutions before them."""

    def __init__(self, plain: Fusion, dtype: torch.dtype, products: torch.dtype):
        super().__init__()
        self.scales, self.out_row = plain.scales, plain.out_row
        fast = prepared(plain, dtype, products)
        self.lateral, self.down, self.up = fast.lateral, fast.down, fast.up
        self.final = FastLateral(prepared(plain.final))

    def forward(self, candidates: dict[float, Tensor]) -> Tensor:
        """As the plain one's, float32; empties ``candidates``."""
        passed = self._from_double(candidates.pop(2.0)) if self.out_row else []
        rows: dict[int, Tensor] = {}
        for column in (0, 1):
            above = passed.pop(0) if passed else None
            for row in range(self.out_row, len(self.scales)):
                if row > self.out_row:
                    above = summed(self.down[f"{row - 1}_{column}"], rows[row - 1])
                x = rows[row] if column else candidates.pop(self.scales[row], None)
                made = above if x is None else self.lateral[f"{row}_{column}"](x, above)
                assert made is not None
                rows[row] = made
        for number, column in enumerate((2, 3)):
            for row in reversed(rows):
                last = row + 1 == len(self.scales)
                below = None if last else summed(self.up[f"{row}_{number}"], rows[row + 1])
                rows[row] = self.lateral[f"{row}_{column}"](rows[row], below)
        draft: Tensor = self.final(rows[self.out_row].float())
        return draft

    def _from_double(self, candidates: Tensor) -> list[Tensor]:
        """What the row of double size passes down, by its first and its second column; a band at a time."""
        batch, _, height, width = candidates.shape
        passed: list[Tensor] = []
        for top in range(0, height, BAND):
            start, bottom = max(top - AROUND, 0), min(top + BAND, height)
            row = candidates[:, :, start : bottom + AROUND].clone()  # a lateral may overwrite it
            for column in (0, 1):
                row = self.lateral[f"0_{column}"](row)
                band = summed(self.down[f"0_{column}"], row)
                if top == 0:
                    whole = band.new_empty(batch, height // 2, width // 2, band.shape[1])
                    passed.append(whole.permute(0, 3, 1, 2))
                inside = slice((top - start) // 2, (bottom - start) // 2)
                passed[column][:, :, top // 2 : bottom // 2] = band[:, :, inside]
        return passed
