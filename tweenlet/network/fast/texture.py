"""The texture for inference: channels last throughout, 3-D convolutions by oneDNN and Winograd's method."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.network.fast.blocks import FastDecoder
from tweenlet.network.fast.layers import Abreast, Conv3d
from tweenlet.network.fast.prepare import prepared
from tweenlet.network.texture import SLICES, Texture


class FastTexture(nn.Module):
    """:class:`~tweenlet.network.texture.Texture`, channels last throughout."""

    def __init__(self, texture: Texture, dtype: torch.dtype, products: torch.dtype):
        super().__init__()
        self.dtype = dtype
        plain = prepared(texture, dtype, products)
        self.stem, self.stages, self.out = plain.stem, plain.stages, Abreast(plain.out)
        self.decoder = nn.ModuleList(FastDecoder(block) for block in plain.decoder)
        fuse = plain.fuse[0]  # over the channels of all slices, slice by slice
        assert isinstance(fuse, nn.Conv2d)
        over_slices = fuse.weight.view(fuse.out_channels, SLICES, -1, 1, 1).transpose(1, 2)
        self.fuse = Conv3d(over_slices, fuse.bias, (1, 1, 1), (0, 0, 0))

    def forward(self, frames: Tensor, draft: Tensor) -> Tensor:
        """As the plain one's."""
        x = torch.cat((frames[:, :2], draft[:, None], frames[:, 2:]), 1).transpose(1, 2)
        x = self.stem(x.to(self.dtype).contiguous(memory_format=torch.channels_last_3d)).relu_()
        levels = [x]
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        levels.pop()
        x = self.decoder[0](x)
        for block in self.decoder[1:]:
            x = torch.cat((x, levels.pop()), 1)  # by itself, so that x as it was is freed
            x = block(x)
        x = F.leaky_relu_(self.fuse(x)[:, :, 0], 0.2)
        added: Tensor = self.out(F.pad(x, (3, 3, 3, 3), mode="reflect"))
        return added
