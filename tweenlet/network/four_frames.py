"""Intermediate flow over four frames: timed by the neighbouring pairs, at half the frame's size.

    frames (B, 4, 3, H, W), time  ->  frame (B, 3, H, W)

    each frame --> its pyramid, and features --+
                                               v
    neighbouring pairs --> coarse levels --> velocities --> acceleration --+
    the middle pair ----> coarse levels --> flows, mask, context ---- + ---+--> finest level --> flows, mask
    before, after --> warped by the flows, bicubic --> blended by the mask, corrected by a head --> frame

Static overlays on a moving picture, such as subtitles, are left alone (:mod:`tweenlet.ops.overlay`).

The levels are cheaper than those of :mod:`tweenlet.network.intermediate_flow`: each warps frames already
downsampled to its scale, and none works at full size. Two frames tell where an object was and will be, but
not when it is halfway, as motion speeds up and slows down. Its acceleration is measured from the velocities
of the pairs before and after, as in Xu et al., "Quadratic Video Interpolation", NeurIPS 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.network.channels import ChannelGraph
from tweenlet.network.config import IntermediateFlowConfig
from tweenlet.network.intermediate_flow import (
    Interpolation,
    Level,
    activation,
    check_time,
    encoder_layers,
)
from tweenlet.network.motion import PAIR_TIME, Estimate, Motion
from tweenlet.ops.levels import resize, warped_inputs
from tweenlet.ops.mix import fetch_both, mix
from tweenlet.ops.overlay import overlay
from tweenlet.ops.resample import avg_pool2, box_blur
from tweenlet.ops.warp import backwarp

SMOOTHED = 5
"""Side of the window over which velocities are averaged, in pixels of the coarse levels."""


class HalfSizeEncoder(nn.Module):
    """Downsamples a frame by 2 and computes its features at that size."""

    def __init__(self, hidden: int, outputs: int):
        super().__init__()
        self.layers = encoder_layers(hidden)
        self.out = nn.Conv2d(hidden, outputs, 3, 1, 1)

    def forward(self, frame: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3 + outputs, H/2, W/2), the frame itself first."""
        return torch.cat((avg_pool2(frame), self.out(self.layers(frame))), 1)


class ResidualHead(nn.Module):
    """Corrects the blended frame and the mask from both warped frames; zero-initialised."""

    def __init__(self, width: int, context: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4 * 2 * 3 + 1 + context, width, 3, 1, 1), activation(),
            nn.Conv2d(width, width, 3, 1, 1), activation(),
            nn.Conv2d(width, 4 * 4, 3, 1, 1),
        )  # fmt: skip
        for parameter in self.layers[4].parameters():
            nn.init.zeros_(parameter)

    def forward(self, fetched: Tensor, estimate: Tensor) -> Tensor:
        """Warped pixels (B, 24, H/2, W/2), mask and context -> residuals of frame and mask.

        They are (B, 16, H/2, W/2), for a pixel shuffle to (B, 4, H, W).
        """
        out: Tensor = self.layers(torch.cat((fetched, estimate), 1)).float()
        return out


class FourFrameFlow(nn.Module):
    """The levels of a config, from coarse to scale 2; the finest takes the acceleration."""

    padding = "mirrored"

    def __init__(self, config: IntermediateFlowConfig):
        super().__init__()
        self.scales = [level.scale for level in config.levels]
        self.stride = 4 * self.scales[0]
        hidden, features = config.encoder
        self.encode = HalfSizeEncoder(hidden, features)
        first = 2 * (3 + features) + 1
        later = first + 1 + config.context + 4
        widths = [first] + [later] * (len(config.levels) - 1)
        widths[-1] += 2  # the acceleration
        self.levels = nn.ModuleList(
            Level(inputs, level, config.context) for inputs, level in zip(widths, config.levels, strict=True)
        )
        self.head = ResidualHead(config.head, config.context) if config.head else None
        self.acceleration_weight = nn.Parameter(torch.tensor(0.7))
        """Fraction of the measured acceleration to apply."""

    def forward(
        self, frames: Tensor, time: float | Tensor = 0.5, motion: Motion | Estimate | None = None
    ) -> Interpolation:
        """Frames (B, 4, 3, H, W) -> the frame at a time in (0, 1) between the middle two.

        H and W are multiples of ``stride``. ``motion`` is that of these frames for this time, from
        :meth:`motion`, :meth:`join` or :meth:`finish`; None = estimate it now. It may be that of frames
        downsampled by a power of two. ValueError for a time outside (0, 1).
        """
        finest, repeats = self._estimate(frames, time, motion)
        frame, correction = self.show(frames, finest, repeats)
        whole = resize(finest[:, :5], 2)
        mask = whole[:, 4:] if correction is None else whole[:, 4:] + F.pixel_shuffle(correction, 2)[:, 3:]
        return Interpolation(frame, (whole[:, :4],), mask)

    def frame(
        self, frames: Tensor, time: float | Tensor = 0.5, motion: Motion | Estimate | None = None
    ) -> Tensor:
        """As :meth:`forward`, but only the frame (B, 3, H, W): nothing else is upsampled to its size."""
        finest, repeats = self._estimate(frames, time, motion)
        return self.show(frames, finest, repeats)[0]

    def _estimate(self, frames: Tensor, time: float | Tensor, motion: Motion | Estimate | None) -> Estimate:
        if isinstance(motion, Estimate):
            return motion
        times = check_time(time, frames)
        if motion is None:
            motion = self.motion(frames, times)
            return self.finish(motion, times)
        return self.finish(motion, times, frames.shape[-1] // (2 * motion.before.shape[-1]))

    def motion(self, frames: Tensor, times: Tensor) -> Motion:
        """The motion in frames (B, 4, 3, H, W), for times (B, 1, 1, 1) between the middle two."""
        features = self.features(frames.flatten(0, 1))
        features = features.view(*frames.shape[:2], *features.shape[1:])
        halfway = torch.full_like(times, PAIR_TIME)
        estimates = [
            self.estimate(features[:, k], features[:, k + 1], at)
            for k, at in enumerate((halfway, times, halfway))
        ]
        repeats = [(frames[:, a] == frames[:, b]).flatten(1).all(1) for a, b in ((0, 1), (3, 2))]
        return self.join((features[:, 1], features[:, 2]), estimates, torch.stack(repeats, 1), times)

    def features(self, frames: Tensor) -> Tensor:
        """Features (N, 3 + F, H/2, W/2) of frames (N, 3, H, W), the downsampled frame first."""
        features: Tensor = self.encode(frames)
        return features

    def estimate(self, before: Tensor, after: Tensor, times: Tensor) -> Tensor:
        """Motion estimate of all levels but the finest: (B, 5 + context, h, w), as from :class:`Level`.

        Args:
            before: features of a frame, (B, 3 + F, H/2, W/2).
            after: features of the next frame, of the same shape.
            times: position between them, (B, 1, 1, 1).

        """
        pyramid = {2: (before, after)}
        while (finer := max(pyramid)) < self.scales[0]:
            before, after = pyramid[finer]
            pyramid[2 * finer] = avg_pool2(before), avg_pool2(after)
        estimate: Tensor | None = None
        coarser = 0
        for scale, level in zip(self.scales[:-1], self.levels, strict=False):
            if estimate is None:
                estimate = level(warped_inputs(*pyramid[scale], times, None))
            else:
                estimate = cast(Level, level).refine(*pyramid[scale], times, estimate, coarser // scale)
            coarser = scale
        assert estimate is not None
        return estimate

    def join(
        self, features: tuple[Tensor, Tensor], estimates: Sequence[Tensor], repeats: Tensor, times: Tensor
    ) -> Motion:
        """The motion of a window, from the features of its frames and the estimates of its pairs.

        Args:
            features: :meth:`features` of the middle two frames, (B, 3 + F, H/2, W/2) each.
            estimates: :meth:`estimate` of the three pairs, (B, 5 + context, h, w) each, the outer two at
                PAIR_TIME, the middle one at ``times``.
            repeats: (B, 2), whether the first and the last frame equal their neighbours, as at the ends of a
                clip, so that their pairs tell nothing about motion.
            times: position between the middle two, (B, 1, 1, 1).

        """
        first, middle, last = estimates
        velocities = torch.cat([x[:, 2:4] - x[:, :2] for x in (first, last)], 1)
        measured = acceleration(middle[:, :4], velocities, ~repeats, times, 2 * features[0].shape[-1])
        bend = measured * self.acceleration_weight
        moved = middle[:, :4] + (bend * (times * (1 - times) / 2)).repeat(1, 2, 1, 1)
        return Motion(*features, torch.cat((moved, middle[:, 4:]), 1), bend, repeats)

    def finish(self, motion: Motion, times: Tensor, shrink: int = 1) -> Estimate:
        """The motion after the finest level, for frames ``shrink`` times as large as it was estimated on."""
        *parts, repeats = motion
        return Estimate(enlarge(self.finest(times, *parts), shrink), repeats)

    def finest(self, times: Tensor, before: Tensor, after: Tensor, estimate: Tensor, bend: Tensor) -> Tensor:
        """Motion estimate of the finest level, (B, 5 + context, H/2, W/2), from the parts of a motion."""
        coarser, scale = self.scales[-2:]
        level = cast(Level, self.levels[-1])
        return level.refine(before, after, times, estimate, coarser // scale, bend)

    def show(self, frames: Tensor, finest: Tensor, repeats: Tensor) -> tuple[Tensor, Tensor | None]:
        """The frame (B, 3, H, W) from four frames (B, 4, 3, H, W) and the finest level's estimate.

        Also returns the correction by the head, if there is one.
        """
        before, after = frames[:, 1], frames[:, 2]
        fetched = fetch_both(before, after, finest[:, :4])
        correction: Tensor | None = None if self.head is None else self.head(fetched, finest[:, 4:])
        still = overlay(frames.float(), repeats)
        return mix(before, after, fetched, finest[:, 4:5], correction, still), correction

    def declare_channels(self, graph: ChannelGraph) -> None:
        """State which channels enter and leave each layer of the levels; encoder and head keep theirs."""
        for level in self.levels:
            cast(Level, level).declare_channels(graph)
        for part in (self.encode, self.head):
            for module in () if part is None else part.modules():
                graph.constants(module)
        graph.constants(self)


def enlarge(estimate: Tensor, factor: int) -> Tensor:
    """Convert an estimate (B, 5 + context, h, w) to frames ``factor`` times as large, a power of two."""
    for _ in range(factor.bit_length() - 1):
        estimate = resize(estimate, 2)
        estimate[:, :4] *= 2
    return estimate


def acceleration(flows: Tensor, velocities: Tensor, observed: Tensor, times: Tensor, width: int) -> Tensor:
    """Acceleration (B, 2, h, w), in pixels per frame squared, at the new frame.

    ``flows`` (B, 4, h, w) are those of the middle pair at ``times`` (B, 1, 1, 1), ``velocities`` (B, 4, h, w)
    those of the pairs before and after, all in pixels of a frame of this width. Of these, ``observed`` (B, 2)
    says which tell anything; the acceleration is zero where neither does.
    """
    velocity = flows[:, 2:] - flows[:, :2]
    steps = velocity * (flows.shape[-1] / width)
    smooth = box_blur(torch.cat((velocities, velocity), 1), SMOOTHED)
    before, after, own = torch.split(smooth, 2, 1)
    share = observed.to(flows) / observed.sum(1, keepdim=True).clamp_min(1)
    share_before, share_after = share[..., None, None, None].unbind(1)
    before = own - backwarp(before, -steps * (times + PAIR_TIME))
    after = backwarp(after, steps * (2 - PAIR_TIME - times)) - own
    return before * share_before + after * share_after
