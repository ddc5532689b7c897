"""The texture for inference: channels last throughout, 3-D convolutions by oneDNN and Winograd's method."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.inference.fused.bands import Band, bands
from tweenlet.inference.fused.blocks import FastDecoder
from tweenlet.inference.fused.fuse import prepared
from tweenlet.inference.fused.layers import WHOLE, Abreast, Conv3d, Winograd, pixels
from tweenlet.network.blocks import Tile, run
from tweenlet.network.texture import SLICES, Texture
from tweenlet.ops.cpu.arena import empty_channels_last
from tweenlet.ops.reduce import channel_sum


class FastTexture(nn.Module):
    """:class:`~tweenlet.network.texture.Texture`, channels last throughout."""

    def __init__(self, texture: Texture, dtype: torch.dtype, products: torch.dtype):
        super().__init__()
        self.dtype = dtype
        plain = prepared(texture, dtype, products)
        (stem,) = plain.stem
        assert isinstance(stem, Conv3d)
        self.stem, self.stages, self.out = stem, plain.stages, Abreast(plain.out)
        *blocks, last = (FastDecoder(block) for block in plain.decoder)
        self.decoder, self.fuse = nn.ModuleList(blocks), Fuse(last, plain.fuse[0])

    def forward(self, frames: Tensor, draft: Tensor, tile: Tile | None = None) -> Tensor:
        """As the plain one's."""
        batch, _, colours, height, width = frames.shape
        x = empty_channels_last((batch, colours, SLICES, height, width), self.dtype, frames.device)
        for number, frame in enumerate((frames[:, 0], frames[:, 1], draft, frames[:, 2], frames[:, 3])):
            x[:, :, number] = frame
        x = self._entered(x)
        levels = [x]
        for stage in self.stages:
            x = run(stage, x, tile)
            levels.append(x)
        levels.pop()
        x = self.decoder[0](x, tile=tile)
        for block in (*self.decoder[1:], self.fuse):
            x = block(x, levels.pop(), tile)
        return self._left(x)

    def _entered(self, x: Tensor) -> Tensor:
        """What the stem makes, some rows at a time: so oneDNN makes nothing large."""
        batch, _, slices, height, width = x.shape
        outputs = len(self.stem.weight)
        made = empty_channels_last((batch, outputs, slices, height // 2, width // 2), x.dtype, x.device)
        for band in bands(height // 2, 4):  # fewer rows than elsewhere: of five slices
            above, below = band.cut
            y = self.stem(x[..., band.seen(4, 2, 2), :])
            made[..., band.rows, :] = y[..., 2 * above : y.shape[-2] - below, :].relu_()
            del y  # before the next is made
        return made

    def _left(self, x: Tensor) -> Tensor:
        """What the last layer makes, likewise."""
        made = pixels(x, self.out.outputs)
        for band in bands(x.shape[2]):
            above, below = (0 if more else 3 for more in band.cut)
            seen = F.pad(x[:, :, band.seen(3, 3)], (3, 3, above, below), mode="reflect")
            made[:, :, band.rows] = self.out(seen)
            del seen
        return made


class Fuse(nn.Module):
    """The decoder's last block and what joins its slices, some rows at a time: whole they are large."""

    def __init__(self, block: FastDecoder, fuse: nn.Module):
        super().__init__()
        assert isinstance(fuse, nn.Conv2d)
        self.block = block
        by_slice = fuse.weight.view(fuse.out_channels, SLICES, -1, 1, 1).transpose(1, 2)
        self.fuse = Conv3d(by_slice, fuse.bias, (1, 1, 1), (0, 0, 0))

    def forward(self, x: Tensor, beside: Tensor, tile: Tile | None = None) -> Tensor:
        """(B, C, T, h, w) and (B, C', T, h, w) with its channels beside those -> (B, K, 2h, 2w)."""
        height, width = x.shape[-2:]
        made = pixels(x[:, :, 0], len(self.fuse.weight), 2 * height, 2 * width)
        gate = self.block.gate
        # the mean over tiles is gathered from all that the layer makes of each
        known = gate.factors_of(self._mean(x, beside)) if tile is None else None
        for band in [Band(0, height, WHOLE)] if known is None else bands(height, 2):
            seen = (..., band.seen(1, 1), slice(None))
            y = self.block.made(x[seen], beside[seen], band.cut)
            y = self.block.activated(y, gate.factors(y, tile) if known is None else known)
            rows = slice(2 * band.top, 2 * band.bottom)
            made[:, :, rows] = F.leaky_relu_(self.fuse(y)[:, :, 0], 0.2)
            del y  # before the next is made
        return made

    def _mean(self, *inputs: Tensor) -> Tensor:
        """The mean of each channel that the block's layer makes of its inputs, (B, K, 1, 1, 1).

        From sums over them: the layer, a transposed one of 3x4x4, is linear, and a tap of its kernel adds all
        but what it puts outside: the first row, column or slice for the first tap, the last for the last one.
        """
        layer = self.block.layer.layer if isinstance(self.block.layer, Winograd) else self.block.layer
        assert isinstance(layer, nn.ConvTranspose3d)
        assert layer.bias is not None
        taps = layer.weight.shape

        def reached(x: Tensor, dim: int = 2) -> Tensor:
            if dim == x.dim():
                return channel_sum(x)
            parts = (x, x.narrow(dim, 0, 1), x.narrow(dim, x.shape[dim] - 1, 1))
            whole, first, last = (reached(part, dim + 1) for part in parts)
            return torch.stack((whole - first, *[whole] * (taps[dim] - 2), whole - last), 2)

        by_tap = torch.cat([reached(x) for x in inputs], 1)
        total = torch.einsum("bctyx,cktyx->bk", by_tap, layer.weight.double())
        mean = total / (4 * inputs[0][0, 0].numel()) + layer.bias
        return mean.to(inputs[0].dtype)[..., None, None, None]
