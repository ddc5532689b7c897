"""The fusion for inference: its sums made by the convolutions before them, some rows at a time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tweenlet.inference.fused.bands import bands, inner
from tweenlet.inference.fused.blocks import FastLateral
from tweenlet.inference.fused.fuse import prepared
from tweenlet.inference.fused.layers import outputs_of, pixels, summed
from tweenlet.network.fusion import Fusion
from tweenlet.ops.cpu.arena import empty_channels_last
from tweenlet.ops.resample import upsample_rows


class FastFusion(nn.Module):
    """:class:`~tweenlet.network.fusion.Fusion`, whose sums are made by the convolutions before them."""

    def __init__(self, plain: Fusion, dtype: torch.dtype, products: torch.dtype):
        super().__init__()
        self.scales, self.out_row = plain.scales, plain.out_row
        fast = prepared(plain, dtype, products)
        self.lateral, self.down, self.up = fast.lateral, fast.down, fast.up
        self.final = FastLateral(prepared(plain.final))
        for stack in self.up.values():
            assert isinstance(stack, nn.Sequential)
            del stack[0]  # the enlargement

    def forward(self, candidates: dict[float, Tensor]) -> Tensor:
        """As the plain one's, float32; empties ``candidates``."""
        passed = self._from_double(candidates.pop(2.0)) if self.out_row else []
        rows: dict[int, Tensor] = {}
        spare: dict[int, Tensor] = {}  # by row, what is overwritten by its next column
        for column in (0, 1):
            above = passed.pop(0) if passed else None
            for row in range(self.out_row, len(self.scales)):
                if row > self.out_row:
                    above = self._passed_down(self.down[f"{row - 1}_{column}"], rows[row - 1])
                x = rows[row] if column else candidates.pop(self.scales[row], None)
                if column:
                    spare[row] = rows[row]
                made = above if x is None else self.lateral[f"{row}_{column}"](x, above)
                assert made is not None
                rows[row] = made
        for number, column in enumerate((2, 3)):
            for row in reversed(rows):
                made = self.lateral[f"{row}_{column}"](rows[row], into=spare[row])
                rows[row], spare[row] = made, rows[row]
                if row + 1 < len(self.scales):
                    self._add_enlarged(self.up[f"{row}_{number}"], rows[row + 1], rows[row])
        x = rows[self.out_row]
        draft = empty_channels_last(
            (len(x), outputs_of(self.final.path), *x.shape[2:]), torch.float32, x.device
        )
        self.final(x, into=draft)
        return draft

    def _from_double(self, candidates: Tensor) -> list[Tensor]:
        """What the row of double size passes down, by its first and its second column; a band at a time."""
        height, width = (side // 2 for side in candidates.shape[2:])
        down = [self.down[f"0_{column}"] for column in (0, 1)]
        passed = [pixels(candidates, outputs_of(stack), height, width) for stack in down]
        first, second = self.lateral["0_0"], self.lateral["0_1"]
        assert isinstance(first, FastLateral)
        assert isinstance(second, FastLateral)
        for band in bands(height, 2):
            # what passes down sees four rows above and two below, and each lateral two on either side
            seen = candidates[:, :, band.seen(8, 6, 2)]
            made = pixels(seen, outputs_of(first.path), seen.shape[2] - 2 * sum(band.cut))
            x = first.within(seen, band.cut, made)
            own = inner(x, 2, band.cut)
            summed(down[0], own, into=passed[0][:, :, band.rows], cut=band.cut)
            own = second.within(x, band.cut, own)
            summed(down[1], own, into=passed[1][:, :, band.rows], cut=band.cut)
            del made, x, own  # before the next band's are made
        return passed

    def _passed_down(self, layers: nn.Module, x: Tensor) -> Tensor:
        """What ``layers`` make of ``x``, of half its size."""
        height, width = (side // 2 for side in x.shape[2:])
        made = pixels(x, outputs_of(layers), height, width)
        for band in bands(height, 2):
            summed(layers, x[:, :, band.seen(4, 2, 2)], into=made[:, :, band.rows], cut=band.cut)
        return made

    def _add_enlarged(self, layers: nn.Module, x: Tensor, into: Tensor) -> None:
        """Add what ``layers`` make of ``x`` at twice its size."""
        for band in bands(into.shape[2]):
            seen = band.seen(2, 2)
            summed(layers, upsample_rows(x, seen.start, seen.stop), into[:, :, band.rows], cut=band.cut)
