"""The fusion for inference: convolutions accumulate its sums, in bands of rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tweenlet.inference.fused.bands import crop_rows, row_bands
from tweenlet.inference.fused.blocks import FusedLateral
from tweenlet.inference.fused.fuse import fuse_for_inference
from tweenlet.inference.fused.layers import channels_last, new_image, out_channels_of, run_and_add
from tweenlet.network.fusion import Fusion
from tweenlet.ops.cpu.arena import empty_channels_last
from tweenlet.ops.resample import upsample_rows


class FusedFusion(nn.Module):
    """:class:`~tweenlet.network.fusion.Fusion` in ``dtype``; its last layers stay float32."""

    def __init__(self, plain: Fusion, dtype: torch.dtype, compute_dtype: torch.dtype):
        super().__init__()
        self.scales, self.out_row, self.dtype = plain.scales, plain.out_row, dtype
        fused = fuse_for_inference(plain, dtype, compute_dtype)
        self.lateral, self.down, self.up = fused.lateral, fused.down, fused.up
        self.final = FusedLateral(fuse_for_inference(plain.final))
        for stack in self.up.values():
            assert isinstance(stack, nn.Sequential)
            del stack[0]  # the upsampling

    def forward(self, candidates: dict[float, Tensor]) -> Tensor:
        """Candidates by scale, (B, C, scale H, scale W) -> the draft (B, 3, H, W), float32.

        Empties ``candidates``, so that each can be freed once it has been read.
        """
        from_above = self._run_fine_row(self._take(candidates, 2.0)) if self.out_row else []
        rows: dict[int, Tensor] = {}
        spare: dict[int, Tensor] = {}  # by row, a tensor that its next column may overwrite
        for column in (0, 1):
            above = from_above.pop(0) if from_above else None
            for row in range(self.out_row, len(self.scales)):
                if row > self.out_row:
                    above = self._pass_down(self.down[f"{row - 1}_{column}"], rows[row - 1])
                if column:
                    x = spare[row] = rows[row]
                elif self.scales[row] in candidates:
                    x = self._take(candidates, self.scales[row])
                else:
                    assert above is not None
                    rows[row] = above
                    continue
                rows[row] = self.lateral[f"{row}_{column}"](x, above)
                del x
        for number, column in enumerate((2, 3)):
            for row in reversed(rows):
                lateral = self.lateral[f"{row}_{column}"]
                rows[row], spare[row] = lateral(rows[row], out=spare[row]), rows[row]
                if row + 1 < len(self.scales):
                    self._add_upsampled(self.up[f"{row}_{number}"], rows[row + 1], rows[row])
        x = rows[self.out_row]
        shape = (len(x), out_channels_of(self.final.path), *x.shape[2:])
        draft = empty_channels_last(shape, torch.float32, x.device)
        self.final(x, out=draft)
        return draft

    def _take(self, candidates: dict[float, Tensor], scale: float) -> Tensor:
        return channels_last(candidates.pop(scale), self.dtype)

    def _run_fine_row(self, candidates: Tensor) -> list[Tensor]:
        """What the double-size row passes down from its first and second columns."""
        height, width = (side // 2 for side in candidates.shape[2:])
        down = [self.down[f"0_{column}"] for column in (0, 1)]
        passed = [new_image(candidates, out_channels_of(stack), height, width) for stack in down]
        first, second = self.lateral["0_0"], self.lateral["0_1"]
        assert isinstance(first, FusedLateral)
        assert isinstance(second, FusedLateral)
        for band in row_bands(height, 2):
            # the strided stacks read four rows above and two below, each lateral two on either side
            source = candidates[:, :, band.with_halo(8, 6, 2)]
            out = new_image(source, out_channels_of(first.path), source.shape[2] - 2 * sum(band.halo))
            x = first.run_band(source, band.halo, out)
            own = crop_rows(x, 2, band.halo)
            run_and_add(down[0], own, out=passed[0][:, :, band.rows], halo=band.halo)
            own = second.run_band(x, band.halo, own)
            run_and_add(down[1], own, out=passed[1][:, :, band.rows], halo=band.halo)
            del out, x, own  # before the next band's are allocated
        return passed

    def _pass_down(self, layers: nn.Module, x: Tensor) -> Tensor:
        """Run strided ``layers`` on ``x``; the output has half its size."""
        height, width = (side // 2 for side in x.shape[2:])
        out = new_image(x, out_channels_of(layers), height, width)
        for band in row_bands(height, 2):
            run_and_add(layers, x[:, :, band.with_halo(4, 2, 2)], out=out[:, :, band.rows], halo=band.halo)
        return out

    def _add_upsampled(self, layers: nn.Module, x: Tensor, out: Tensor) -> None:
        """Upsample ``x`` by 2, run ``layers`` on it, and add the result to ``out``."""
        for band in row_bands(out.shape[2]):
            rows = band.with_halo(2, 2)
            source = upsample_rows(x, rows.start, rows.stop)
            run_and_add(layers, source, out[:, :, band.rows], halo=band.halo)
            del source  # before the next is allocated
