"""Small networks outside the family, built like published ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """Backward warping by a flow (B, 2, h, w), in pixels."""
    height, width = flow.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack((x, y)).to(flow) + flow
    scale = torch.tensor([2 / (width - 1), 2 / (height - 1)]).to(flow).view(1, 2, 1, 1)
    return F.grid_sample(picture, (grid * scale - 1).permute(0, 2, 3, 1), align_corners=True)


def conv(ins: int, outs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(ins, outs, 3, stride, 1), nn.PReLU(outs))


class RifeLike(nn.Module):
    """Levels of coarse-to-fine flow with residual blocks of scales, over two frames and a time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.levels = nn.ModuleList(Level(7 if first else 17, 16) for first in (True, False))

    def forward(self, before: Tensor, after: Tensor, time: Tensor) -> Tensor:
        plane = time.expand(len(before), 1, *before.shape[-2:])
        flow, mask = None, None
        a, b = before, after
        for scale, level in zip((4, 2), self.levels, strict=True):
            inputs = [before, after, plane] if flow is None else [before, after, a, b, plane, flow]
            delta, change = level(torch.cat(inputs, 1), scale)
            flow, mask = (delta, change) if flow is None else (flow + delta, mask + change)
            a, b = warp(before, flow[:, :2]), warp(after, flow[:, 2:4])
        share = mask.sigmoid()
        return a * share + b * (1 - share)


class Level(nn.Module):
    def __init__(self, ins: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(conv(ins, width // 2, 2), conv(width // 2, width, 2))
        self.blocks = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for _ in range(2))
        self.scales = nn.ParameterList(torch.full((1, width, 1, 1), 0.1) for _ in range(2))
        self.leave = nn.Sequential(nn.ConvTranspose2d(width, 4 * 5, 4, 2, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor, scale: int) -> tuple[Tensor, Tensor]:
        size = x.shape[-2:]
        x = self.enter(F.interpolate(x, scale_factor=1 / scale, mode="bilinear"))
        for block, factor in zip(self.blocks, self.scales, strict=True):
            x = F.leaky_relu(block(x) * factor + x, 0.2)
        x = F.interpolate(self.leave(x), size=size, mode="bilinear")
        return x[:, :4] * scale, x[:, 4:5]


class IfrnetLike(nn.Module):
    """An encoder, decoders that refine flow and features together, and a residual; a dict comes out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.ModuleList((conv(3, 12, 2), conv(12, 16, 2)))
        self.coarse = nn.Sequential(conv(32, 24), nn.ConvTranspose2d(24, 4 + 12, 4, 2, 1))
        self.fine = nn.Sequential(conv(4 + 12 + 24, 24), nn.ConvTranspose2d(24, 4 + 1 + 3, 4, 2, 1))

    def forward(self, before: Tensor, after: Tensor) -> dict[str, Tensor]:
        levels = [[layer := self.encoder[0](x), self.encoder[1](layer)] for x in (before, after)]
        features = self.coarse(torch.cat([level[1] for level in levels], 1))
        flow, features = features[:, :4], features[:, 4:]
        output = self.fine(torch.cat([flow, features, *(level[0] for level in levels)], 1))
        flow = F.interpolate(flow, scale_factor=2.0, mode="bilinear") * 2 + output[:, :4]
        share = output[:, 4:5].sigmoid()
        a, b = warp(before, flow[:, :2]), warp(after, flow[:, 2:])
        return {"flow": flow, "imgt_pred": a * share + b * (1 - share) + output[:, 5:]}


class FourFrames(nn.Module):
    """Four frames in, half way out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = (
            conv(12, 16),
            nn.Conv2d(16, 16, 3, padding=1, groups=4),
            nn.BatchNorm2d(16),
            nn.Conv2d(16, 3, 1),
        )
        self.layers = nn.Sequential(*layers)

    def forward(self, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        return (b + c) / 2 + self.layers(torch.cat((a, b, c, d), 1))
