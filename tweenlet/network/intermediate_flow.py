"""Intermediate flow: the motion from the new frame to both neighbours, estimated coarse to fine (IFNet).

    before, after (B, 3, H, W), time  ->  flows (B, 4, H, W), mask (B, 1, H, W), frame (B, 3, H, W)

    before, after --> encode --> features
         level 1/16:  frames, features, time                            --> flows, mask, context
         level 1/8:   both warped by the flows; time, mask, context     --> flows += , mask, context
         ...
         level 1:     the same                                          --> flows, mask
    frame = mask * before warped + (1 - mask) * after warped

Flows are in pixels of the frame: (dx, dy) to `before`, then (dx, dy) to `after`. A level works at 1/(4 scale)
of the frame's size. Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation"
(RIFE), ECCV 2022; the layers are those of version 4.25.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.network.channels import ChannelGraph, group
from tweenlet.network.config import FlowLevel, IntermediateFlowConfig
from tweenlet.network.motion import EncodedPair
from tweenlet.ops.levels import level_inputs, merge_warped, pooled_level_inputs, resize

SLOPE = 0.2
"""Negative slope of the leaky ReLUs."""


@dataclass(frozen=True)
class Interpolation:
    """The new frame, with the flows and mask behind it."""

    frame: Tensor
    """(B, 3, H, W), not clamped."""
    flows: tuple[Tensor, ...]
    """Flows (B, 4, H, W) to the frames before and after, in pixels, after each level, coarsest first;
    for networks of four frames after the last level only."""
    mask: Tensor
    """(B, 1, H, W): logit of the weight of the frame before."""


class Encoder(nn.Module):
    """Computes features of a frame at full size, by layers at half size."""

    def __init__(self, hidden: int, outputs: int):
        super().__init__()
        self.layers = encoder_layers(hidden)
        self.out = nn.ConvTranspose2d(hidden, outputs, 4, 2, 1)

    def forward(self, frame: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3 + outputs, H, W), the frame itself first."""
        return torch.cat((frame, self.out(self.layers(frame))), 1)


class ResidualBlock(nn.Module):
    """x -> act(scale * conv(x) + x), close to the activation alone where the scale is close to zero."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 1, 1)
        self.scale = nn.Parameter(torch.ones(1, width, 1, 1))
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        out: Tensor = self.activation(self.conv(x) * self.scale + x)
        return out


class Level(nn.Module):
    """One level: corrects the flows, and predicts a mask and context."""

    def __init__(self, inputs: int, level: FlowLevel, context: int):
        super().__init__()
        self.scale = level.scale
        self.down = nn.Sequential(
            nn.Conv2d(inputs, level.width // 2, 3, 2, 1), activation(),
            nn.Conv2d(level.width // 2, level.width, 3, 2, 1), activation(),
        )  # fmt: skip
        self.blocks = nn.Sequential(*(ResidualBlock(level.width) for _ in range(level.blocks)))
        self.up = nn.Sequential(
            nn.ConvTranspose2d(level.width, 4 * (4 + 1 + context), 4, 2, 1), nn.PixelShuffle(2)
        )

    def forward(self, inputs: Tensor, flows: Tensor | None = None) -> Tensor:
        """Inputs (B, C, h, w) -> estimate (B, 5 + context, h, w): flows, mask (a logit), context.

        The flows, in pixels of the frame, are the level's corrections, plus ``flows`` (B, 4, h, w) if given.
        """
        out: Tensor = self.up(self.blocks(self.down(inputs))).float()
        correction = out[:, :4] * self.scale
        return torch.cat((correction if flows is None else flows + correction, out[:, 4:]), 1)

    def warp_and_estimate(
        self, before: Tensor, after: Tensor, times: Tensor, estimates: Sequence[Tensor]
    ) -> Tensor:
        """The estimate from frames with features, warped at full size: see :func:`pooled_level_inputs`."""
        out: Tensor = self(pooled_level_inputs(before, after, times, self.scale, estimates))
        return out

    def refine(
        self, before: Tensor, after: Tensor, times: Tensor, estimate: Tensor, factor: int, *more: Tensor
    ) -> Tensor:
        """The estimate from frames with features of the level's size: see :func:`level_inputs`."""
        out: Tensor = self(*level_inputs(before, after, times, self.scale, estimate, factor, *more))
        return out

    def declare_channels(self, graph: ChannelGraph) -> None:
        """State which channels enter and leave each layer; all blocks share those of one residual stream."""
        width = f"level.{self.scale}"
        enter, widen, leave = self.down[0], self.down[2], self.up[0]
        assert isinstance(enter, nn.Conv2d)
        half, stream = graph.fresh(enter), graph.fresh(widen, width)
        graph.connect(group(enter.in_channels), half, enter)
        graph.connect(half, stream, widen, width=width)
        for module in self.blocks:
            block = cast(ResidualBlock, module)
            graph.connect(stream, stream, block.conv, width=width)
            graph.per_channel(block, stream)
        graph.connect(stream, graph.fresh(leave), leave)


class IntermediateFlow(nn.Module):
    """The levels of a config: the frame at any time between two frames."""

    padding = "zeros"

    def __init__(self, config: IntermediateFlowConfig):
        super().__init__()
        self.scales = [level.scale for level in config.levels]
        self._multiple = 4 * self.scales[0]
        self.stride = 2 * self._multiple  # as the published programs pad
        hidden, features = config.encoder
        self.encode = Encoder(hidden, features)
        first = 2 * (3 + features) + 1
        later = first + 1 + config.context + 4
        self.levels = nn.ModuleList(
            Level(later if place else first, level, config.context)
            for place, level in enumerate(config.levels)
        )

    def forward(
        self,
        before: Tensor,
        after: Tensor,
        time: float | Tensor = 0.5,
        encoded: EncodedPair | None = None,
    ) -> Interpolation:
        """Frames (B, 3, H, W) of any size in [0, 1], time in (0, 1), a number or (B,) -> the frame then.

        Frames are padded with zeros, right and below, to sizes that the levels take. ``encoded`` are their
        :meth:`features`; None = compute them now. ValueError for a time outside (0, 1).
        """
        height, width = before.shape[-2:]
        before, after, estimates = self._estimate(before, after, time, encoded)
        flows, mask = accumulate(estimates, before.shape[-2])
        frame = merge_warped(before, after, estimates)
        area = (..., slice(height), slice(width))
        return Interpolation(frame[area], tuple(flow[area] for flow in flows), mask[area])

    def frame(
        self,
        before: Tensor,
        after: Tensor,
        time: float | Tensor = 0.5,
        encoded: EncodedPair | None = None,
    ) -> Tensor:
        """As :meth:`forward`, but only the frame (B, 3, H, W): nothing else is upsampled to its size."""
        height, width = before.shape[-2:]
        return merge_warped(*self._estimate(before, after, time, encoded))[..., :height, :width]

    def features(self, frame: Tensor) -> Tensor:
        """Frame (B, 3, H, W) -> padded, with its features, (B, 3 + F, H', W')."""
        height, width = frame.shape[-2:]
        frame = F.pad(frame, (0, -width % self._multiple, 0, -height % self._multiple))
        encoded: Tensor = self.encode(frame)
        return encoded

    def _estimate(
        self, before: Tensor, after: Tensor, time: float | Tensor, encoded: EncodedPair | None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The features of both frames, and the estimates of the levels, coarsest first.

        Estimates are (B, 5 + context, H'/scale, W'/scale) each.
        """
        times = check_time(time, before)
        before, after = encoded or (self.features(before), self.features(after))
        estimates: list[Tensor] = []
        for level in self.levels:
            estimates.append(cast(Level, level).warp_and_estimate(before, after, times, estimates))
        return before, after, estimates

    def declare_channels(self, graph: ChannelGraph) -> None:
        """State which channels enter and leave each layer of the levels; the encoder keeps its own."""
        for level in self.levels:
            cast(Level, level).declare_channels(graph)
        for module in self.encode.modules():
            graph.constants(module)


def encoder_layers(hidden: int) -> nn.Sequential:
    """The layers of an encoder: (B, 3, H, W) -> (B, hidden, H/2, W/2)."""
    return nn.Sequential(
        nn.Conv2d(3, hidden, 3, 2, 1), activation(),
        nn.Conv2d(hidden, hidden, 3, 1, 1), activation(),
        nn.Conv2d(hidden, hidden, 3, 1, 1), activation(),
    )  # fmt: skip


def accumulate(estimates: Sequence[Tensor], height: int) -> tuple[list[Tensor], Tensor]:
    """At the frame's height: the flows (B, 4, H, W) after each level, and the mask of the last."""
    upsampled = [resize(x[:, :5], height / x.shape[-2]) for x in estimates]
    return list(itertools.accumulate(x[:, :4] for x in upsampled)), upsampled[-1][:, 4:]


def check_time(time: float | Tensor, frames: Tensor) -> Tensor:
    """The time of each sample, (B, 1, 1, 1), in the dtype and on the device of frames.

    ValueError for a time outside (0, 1), unless it is on a device other than the CPU.
    """
    batch = frames.shape[0]
    if not isinstance(time, Tensor):
        if not 0 < time < 1:
            raise ValueError(f"expected a time between 0 and 1, got {time}")
        return frames.new_full((batch, 1, 1, 1), time)
    readable = time.device.type == "cpu" and not torch.compiler.is_compiling()
    if readable and not bool(((time > 0) & (time < 1)).all()):
        raise ValueError(f"expected a time between 0 and 1, got {time}")
    return time.to(frames).reshape(-1, 1, 1, 1).expand(batch, 1, 1, 1)


def activation() -> nn.LeakyReLU:
    """The activation after nearly every convolution."""
    return nn.LeakyReLU(SLOPE)
