"""The texture branch for inference: channels last, 3-D convolutions by oneDNN and Winograd's method."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.inference.fused.bands import Band, row_bands
from tweenlet.inference.fused.blocks import FusedTextureDecoder
from tweenlet.inference.fused.fuse import fuse_for_inference
from tweenlet.inference.fused.layers import NO_HALO, Conv3d, MultiPixelConv, Winograd, new_image
from tweenlet.network.blocks import Tile, run
from tweenlet.network.texture import SLICES, Texture
from tweenlet.ops.cpu.arena import empty_channels_last
from tweenlet.ops.reduce import channel_sum


class FusedTexture(nn.Module):
    """:class:`~tweenlet.network.texture.Texture` in ``dtype``, channels last throughout."""

    def __init__(self, plain: Texture, dtype: torch.dtype, compute_dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype
        fused = fuse_for_inference(plain, dtype, compute_dtype)
        (stem,) = fused.stem
        assert isinstance(stem, Conv3d)
        self.stem, self.stages, self.out = stem, fused.stages, MultiPixelConv(fused.out)
        *blocks, last = (FusedTextureDecoder(block) for block in fused.decoder)
        self.decoder, self.fuse = nn.ModuleList(blocks), Fuse(last, fused.fuse[0])

    def forward(self, frames: Tensor, draft: Tensor, tile: Tile | None = None) -> Tensor:
        """Frames (B, 4, 3, H, W) and draft (B, 3, H, W) in [0, 1] -> addition (B, 3, H, W)."""
        batch, _, colours, height, width = frames.shape
        x = empty_channels_last((batch, colours, SLICES, height, width), self.dtype, frames.device)
        for number, frame in enumerate((frames[:, 0], frames[:, 1], draft, frames[:, 2], frames[:, 3])):
            x[:, :, number] = frame
        x = self._run_stem(x)
        levels = [x]
        for stage in self.stages:
            x = run(stage, x, tile)
            levels.append(x)
        levels.pop()
        x = self.decoder[0](x, tile=tile)
        for block in (*self.decoder[1:], self.fuse):
            x = block(x, levels.pop(), tile)
        return self._run_out(x)

    def _run_stem(self, x: Tensor) -> Tensor:
        """The stem, in bands of rows, so that oneDNN allocates nothing large."""
        batch, _, slices, height, width = x.shape
        outputs = len(self.stem.weight)
        out = empty_channels_last((batch, outputs, slices, height // 2, width // 2), x.dtype, x.device)
        for band in row_bands(height // 2, 4):  # fewer rows than elsewhere, as there are five slices
            above, below = band.halo
            y = self.stem(x[..., band.with_halo(4, 2, 2), :])
            out[..., band.rows, :] = y[..., 2 * above : y.shape[-2] - below, :].relu_()
            del y  # before the next is made
        return out

    def _run_out(self, x: Tensor) -> Tensor:
        """The last layer, in bands of rows."""
        out = new_image(x, self.out.outputs)
        for band in row_bands(x.shape[2]):
            above, below = (0 if more else 3 for more in band.halo)
            source = F.pad(x[:, :, band.with_halo(3, 3)], (3, 3, above, below), mode="reflect")
            out[:, :, band.rows] = self.out(source)
            del source
        return out


class Fuse(nn.Module):
    """The decoder's last block and the layer that joins its slices, both large, in bands of rows."""

    def __init__(self, block: FusedTextureDecoder, fuse: nn.Module):
        super().__init__()
        assert isinstance(fuse, nn.Conv2d)
        self.block = block
        by_slice = fuse.weight.view(fuse.out_channels, SLICES, -1, 1, 1).transpose(1, 2)
        self.fuse = Conv3d(by_slice, fuse.bias, (1, 1, 1), (0, 0, 0))

    def forward(self, x: Tensor, concat_with: Tensor, tile: Tile | None = None) -> Tensor:
        """(B, C, T, h, w) and (B, C', T, h, w), whose channels follow -> (B, K, 2h, 2w)."""
        height, width = x.shape[-2:]
        out = new_image(x[:, :, 0], len(self.fuse.weight), 2 * height, 2 * width)
        gate = self.block.gate
        # a tile's mean needs all its rows, so it runs as one band
        factors = gate.factors_of(self._mean(x, concat_with)) if tile is None else None
        for band in [Band(0, height, NO_HALO)] if factors is None else row_bands(height, 2):
            rows = (..., band.with_halo(1, 1), slice(None))
            y = self.block.convolve(x[rows], concat_with[rows], band.halo)
            y = self.block.scale_and_activate(y, gate.factors(y, tile) if factors is None else factors)
            out[:, :, 2 * band.top : 2 * band.bottom] = F.leaky_relu_(self.fuse(y)[:, :, 0], 0.2)
            del y  # before the next is made
        return out

    def _mean(self, *inputs: Tensor) -> Tensor:
        """The mean of each output channel of the block's layer, (B, K, 1, 1, 1), without running it.

        Computed from sums over its inputs: the transposed 3x4x4 layer is linear, and each tap of its kernel
        contributes everything but what falls outside: the first row, column or slice for the first tap, the
        last for the last tap.
        """
        layer = self.block.layer.layer if isinstance(self.block.layer, Winograd) else self.block.layer
        assert isinstance(layer, nn.ConvTranspose3d)
        assert layer.bias is not None
        taps = layer.weight.shape

        def sum_by_tap(x: Tensor, dim: int = 2) -> Tensor:
            if dim == x.dim():
                return channel_sum(x)
            parts = (x, x.narrow(dim, 0, 1), x.narrow(dim, x.shape[dim] - 1, 1))
            whole, first, last = (sum_by_tap(part, dim + 1) for part in parts)
            return torch.stack((whole - first, *[whole] * (taps[dim] - 2), whole - last), 2)

        by_tap = torch.cat([sum_by_tap(x) for x in inputs], 1)
        total = torch.einsum("bctyx,cktyx->bk", by_tap, layer.weight.double())
        mean = total / (4 * inputs[0][0, 0].numel()) + layer.bias
        return mean.to(inputs[0].dtype)[..., None, None, None]
