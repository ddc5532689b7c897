"""The features for inference: the two frames side by side at once, and blocks in one pass each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tweenlet.inference.fused.fuse import prepared
from tweenlet.network.blocks import Tile
from tweenlet.network.features import Features
from tweenlet.ops.cpu.arena import empty_channels_last


class FastFeatures(nn.Module):
    """:class:`~tweenlet.network.features.Features`, made in ``dtype`` from frames of float32."""

    def __init__(self, plain: Features, dtype: torch.dtype, products: torch.dtype):
        super().__init__()
        self.plain, self.mean, self.dtype = prepared(plain, dtype, products), plain.mean, dtype

    def forward(self, before: Tensor, after: Tensor, tile: Tile | None = None) -> Tensor:
        """As the plain one's."""
        batch, channels, *size = before.shape
        x = empty_channels_last((batch, 2 * channels, *size), self.dtype, before.device)
        for frame, into in zip((before, after), torch.chunk(x, 2, 1), strict=True):
            torch.sub(frame, self.mean, out=into)
        return self.plain.seen(x, tile)
