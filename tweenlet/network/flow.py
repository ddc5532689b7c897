"""Flow: PWC-Net in both directions, and both frames splatted halfway along it (the paper's BLFNet).

    before, after (B, 3, H, W)  ->  (B, 6, H, W): before splatted half a step forwards, after half a step back

    frame --> pyramid --> levels[0] (1/2) ... levels[-1] (1/64)
    coarsest to 1/4:  second warped by the flow so far --> correlation --> dense convolutions --> flow
    at 1/4:           refine --> x 20, upsampled to full size --> metric, splat

Sun et al., "PWC-Net", 2018. Internal flows are in units of 20 pixels of the full frame.
"""

from __future__ import annotations

from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.network.channels import ChannelGraph, ChannelGroup, Channels, Layout, group
from tweenlet.ops.correlation import MATCHES, correlation
from tweenlet.ops.splat import splat
from tweenlet.ops.warp import backwarp_pwc

UNIT = 20.0
"""Pixels of the full frame in one unit of flow."""
DENSE = (128, 128, 96, 64, 32)
REFINE = ((128, 1), (128, 2), (128, 4), (96, 8), (64, 16), (32, 1))
"""Widths and dilations of the layers that refine the finest flow."""


class Decoder(nn.Module):
    """The flow of one level: match, then densely connected convolutions.

    One pixel of the level covers ``pixels`` of the frame; ``coarser`` = channels of the level below, if any.
    """

    def __init__(self, width: int, pixels: int, coarser: int | None):
        super().__init__()
        self.pixels_per_unit = UNIT / pixels
        inputs = MATCHES
        if coarser is not None:
            inputs += width + 4
            self.upsample_flow = nn.ConvTranspose2d(2, 2, 4, 2, 1)
            self.upsample_features = nn.ConvTranspose2d(coarser, 2, 4, 2, 1)
        widths = list(accumulate(DENSE, initial=inputs))
        self.outputs = widths[-1]
        self.dense = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1) for i, o in zip(widths[:-1], DENSE, strict=True)
        )
        self.predict = nn.Conv2d(self.outputs, 2, 3, padding=1)

    def forward(
        self, first: Tensor, second: Tensor, coarser: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Feature maps (B, width, h, w) and (flow, features) of the level below -> those of this level."""
        x = torch.cat(self.inputs(first, second, coarser), 1)
        for layer in self.dense:
            x = torch.cat((F.leaky_relu(layer(x), 0.1), x), 1)
        return self.predict(x), x

    def inputs(
        self, first: Tensor, second: Tensor, coarser: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, ...]:
        """Inputs of the convolutions: the correlation, and the outputs of the level below."""
        if coarser is None:
            return (F.leaky_relu(correlation(first, second), 0.1),)
        flow, features = self.upsample_flow(coarser[0]), self.upsample_features(coarser[1])
        matches = correlation(first, backwarp_pwc(second, flow * self.pixels_per_unit))
        return F.leaky_relu(matches, 0.1), first, flow, features

    def declare_channels(self, graph: ChannelGraph, first: Layout, coarser: Layout) -> Layout:
        """State which channels enter and leave each layer; returns those of the features."""
        x = correlation_channels(first)
        if coarser:
            graph.connect(group(2), group(2), self.upsample_flow)
            graph.connect(coarser, group(2), self.upsample_features)
            x = x + first + group(2 + 2)
        for layer, width in zip(self.dense, DENSE, strict=True):
            added = group(width)
            graph.connect(x, added, layer)
            x = added + x
        graph.connect(x, group(2), self.predict)
        return x


class Flow(nn.Module):
    """PWC-Net in both directions and softmax splatting; H and W are multiples of 2 ** len(widths)."""

    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        self.pyramid = nn.ModuleList(_level(i, o) for i, o in zip((3, *widths[:-1]), widths, strict=True))
        decoders: list[Decoder] = []
        for level in reversed(range(1, len(widths))):
            coarser = decoders[-1].outputs if decoders else None
            decoders.append(Decoder(widths[level], 2 ** (level + 1), coarser))
        refined = decoders[-1].outputs
        self.decoders = nn.ModuleList(reversed(decoders))  # finest first, at 1/4 of the frame
        layers: list[nn.Module] = []
        for (width, dilation), inputs in zip(REFINE, (refined, *(w for w, _ in REFINE[:-1])), strict=True):
            layers += [nn.Conv2d(inputs, width, 3, padding=dilation, dilation=dilation), nn.LeakyReLU(0.1)]
        self.refine = nn.Sequential(*layers, nn.Conv2d(REFINE[-1][0], 2, 3, padding=1))
        self.metric_scale = nn.Parameter(torch.full((1, 1, 1, 1), -1.0))

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Frames (B, 3, H, W) in [0, 1] -> both splatted to the middle, (B, 6, H, W)."""
        levels_before, levels_after = self._levels(before), self._levels(after)
        there = self._flow(levels_before, levels_after)
        back = self._flow(levels_after, levels_before)
        return torch.cat((self._halfway(before, after, there), self._halfway(after, before, back)), 1)

    def _levels(self, frame: Tensor) -> list[Tensor]:
        return list(accumulate(self.pyramid, lambda x, level: level(x), initial=frame))[1:]

    def _flow(self, first: list[Tensor], second: list[Tensor]) -> Tensor:
        """Flow in pixels at full size, (B, 2, H, W), from two pyramids."""
        estimate: tuple[Tensor, Tensor] | None = None
        for level in reversed(range(1, len(first))):
            estimate = self.decoders[level - 1](first[level], second[level], estimate)
        assert estimate is not None  # two levels or more
        flow, features = estimate
        return F.interpolate(UNIT * (flow + self.refine(features)), scale_factor=4.0, mode="bilinear")

    def _halfway(self, frame: Tensor, other: Tensor, flow: Tensor) -> Tensor:
        """Splat ``frame`` along half of ``flow``; pixels that disagree with the other frame weigh less."""
        metric = self.metric_scale * (frame - backwarp_pwc(other, flow)).abs().mean(1, keepdim=True)
        return splat(frame, flow / 2, metric)

    def declare_channels(self, graph: ChannelGraph) -> None:
        """State which channels enter and leave each layer."""
        levels = [group(*each) for each in graph.widths("flow")]
        for number, (level, inputs, outputs) in enumerate(
            zip(self.pyramid, (group(3), *levels[:-1]), levels, strict=True)
        ):
            graph.connect(inputs, outputs, level, width=f"flow.{number}")
        x: Layout = ()
        for decoder, first in zip(reversed(self.decoders), reversed(levels[1:]), strict=True):
            x = cast(Decoder, decoder).declare_channels(graph, first, x)
        graph.connect(x, group(2), self.refine)
        graph.constants(self)


def correlation_channels(compared: Layout) -> Layout:
    """Output channels of a correlation over ``compared`` channels: a mean over fewer, hence the gain."""
    share = sum(part.channels.keep for part in compared) / sum(part.channels.width for part in compared)
    return (ChannelGroup(Channels(MATCHES, MATCHES), gain=share),)


def _level(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, stride in ((inputs, 2), (outputs, 1), (outputs, 1)):
        layers += [nn.Conv2d(width, outputs, 3, stride, 1), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)
