"""The features branch for inference: both frames written into one tensor, each block in one pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tweenlet.inference.fused.fuse import fuse_for_inference
from tweenlet.network.blocks import Tile
from tweenlet.network.features import Features
from tweenlet.ops.cpu.arena import empty_channels_last


class FusedFeatures(nn.Module):
    """:class:`~tweenlet.network.features.Features` in ``dtype``, from frames of float32."""

    def __init__(self, plain: Features, dtype: torch.dtype, compute_dtype: torch.dtype):
        super().__init__()
        self.plain, self.mean, self.dtype = fuse_for_inference(plain, dtype, compute_dtype), plain.mean, dtype

    def forward(self, before: Tensor, after: Tensor, tile: Tile | None = None) -> Tensor:
        """Frames (B, 3, H, W) in [0, 1] -> features (B, widths[0], H/2, W/2)."""
        batch, channels, *size = before.shape
        x = empty_channels_last((batch, 2 * channels, *size), self.dtype, before.device)
        for frame, half in zip((before, after), torch.chunk(x, 2, 1), strict=True):
            torch.sub(frame, self.mean, out=half)
        return self.plain.forward_joined(x, tile)
