"""Intermediate flow over four frames: timed by the neighbouring pairs, at half the frame's size.

    frames (B, 4, 3, H, W), time  ->  frame (B, 3, H, W)

    each frame --> its pyramid, and features --+
                                               v
    neighbouring pairs --> coarse levels --> velocities --> acceleration --+
    the middle pair ----> coarse levels --> flows, mask, context ---- + ---+--> finest level --> flows, mask
    before, after --> fetched along the flows, bicubic --> mixed by the mask, corrected by a head --> frame

What stands still over a moving picture, as subtitles do, is left alone (:mod:`tweenlet.ops.overlay`).

Two things make the levels cheaper than those of :mod:`tweenlet.network.intermediate_flow`: a level warps
frames that are already as small as it needs them, and none works at the frame's own size. Two frames tell
where something was and where it will be, but not when it is halfway: things speed up and slow down. The
acceleration is read off the velocities of the pairs before and after, as in Xu et al., "Quadratic Video
Interpolation", NeurIPS 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.network.config import IntermediateFlowConfig
from tweenlet.network.intermediate_flow import Interpolation, Level, activation, check_time, resize
from tweenlet.ops.levels import level_inputs, warped_inputs
from tweenlet.ops.mix import fetch_both, mix
from tweenlet.ops.overlay import overlay
from tweenlet.ops.resample import avg_pool2
from tweenlet.ops.warp import backwarp

SMOOTHED = 5
"""Side of the neighbourhood that velocities are averaged over, in pixels of the coarse levels."""
PAIR_TIME = 0.5
"""When between its two frames the velocity of a pair is measured."""


class HalfSizeEncoder(nn.Module):
    """A frame at half of its size, and its features there."""

    def __init__(self, hidden: int, outputs: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, hidden, 3, 2, 1), activation(),
            nn.Conv2d(hidden, hidden, 3, 1, 1), activation(),
            nn.Conv2d(hidden, hidden, 3, 1, 1), activation(),
        )  # fmt: skip
        self.out = nn.Conv2d(hidden, outputs, 3, 1, 1)

    def forward(self, frame: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3 + outputs, H/2, W/2), the frame itself first."""
        return torch.cat((avg_pool2(frame), self.out(self.layers(frame))), 1)


class ResidualHead(nn.Module):
    """Corrects the mixed frame and the mask by what both fetched frames show; a fresh one changes nothing."""

    def __init__(self, width: int, context: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4 * 2 * 3 + 1 + context, width, 3, 1, 1), activation(),
            nn.Conv2d(width, width, 3, 1, 1), activation(),
            nn.Conv2d(width, 4 * 4, 3, 1, 1),
        )  # fmt: skip
        for parameter in self.layers[4].parameters():
            nn.init.zeros_(parameter)

    def forward(self, fetched: Tensor, known: Tensor) -> Tensor:
        """What is fetched (B, 24, H/2, W/2), mask and context -> what to add to frame and mask.

        That is (B, 16, H/2, W/2), to be shuffled to (B, 4, H, W).
        """
        out: Tensor = self.layers(torch.cat((fetched, known), 1)).float()
        return out


class FourFrameFlow(nn.Module):
    """The levels of a config; scales run from coarse to 2, and the finest is timed."""

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
        self.trust = nn.Parameter(torch.tensor(0.7))
        """How much of the measured acceleration is believed."""

    def forward(
        self, frames: Tensor, time: float | Tensor = 0.5, velocities: Tensor | None = None
    ) -> Interpolation:
        """Frames (B, 4, 3, H, W) -> the frame at a time in (0, 1) between the middle two.

        H and W are multiples of ``stride``. Velocities (B, 2, 2, h, w) are those of the pairs before and
        after, as :meth:`velocity` measures them; None = they are measured here. ValueError for a time
        outside (0, 1).
        """
        motion, velocities = self.motion(frames, time, velocities)
        frame, correction = self.show(frames, motion, velocities)
        whole = resize(motion[:, :5], 2)
        mask = whole[:, 4:] if correction is None else whole[:, 4:] + F.pixel_shuffle(correction, 2)[:, 3:]
        return Interpolation(frame, (whole[:, :4],), mask)

    def motion(
        self, frames: Tensor, time: float | Tensor, velocities: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What the finest level finds out, (B, 5 + context, H/2, W/2), and velocities, measured if None."""
        times = check_time(time, frames)
        if velocities is None:
            features = self._each(frames)
            velocities = torch.stack(
                [self._velocity(frames[:, k : k + 2], features[:, k : k + 2]) for k in (0, 2)], 1
            )
            pair = features[:, 1:3]
        else:
            pair = self._each(frames[:, 1:3])
        return self.finest(frames, pair, self.estimate(pair, times), times, velocities), velocities

    def features(self, frames: Tensor) -> Tensor:
        """What levels see of frames (N, 3, H, W): (N, 3 + F, H/2, W/2), the frame itself first."""
        features: Tensor = self.encode(frames)
        return features

    def estimate(self, pair: Tensor, times: Tensor) -> Tensor:
        """What all levels but the finest find out: (B, 5 + context, h, w), as :class:`Level` tells it.

        Args:
            pair: the features of two frames, (B, 2, 3 + F, H/2, W/2).
            times: when between them, (B, 1, 1, 1).

        """
        pyramid = {2: pair.flatten(0, 1)}
        while (finer := max(pyramid)) < self.scales[0]:
            pyramid[2 * finer] = avg_pool2(pyramid[finer])
        estimate: Tensor | None = None
        coarser = 0
        for scale, level in zip(self.scales[:-1], self.levels, strict=False):
            first, second = pyramid[scale][::2], pyramid[scale][1::2]
            if estimate is None:
                estimate = level(warped_inputs(first, second, times, None))
            else:
                estimate = level(*level_inputs(first, second, times, scale, estimate, coarser // scale))
            coarser = scale
        assert estimate is not None
        return estimate

    def velocity(self, before: Tensor, after: Tensor) -> Tensor:
        """How far what is halfway moves from frame to frame: (B, 3, H, W) twice -> (B, 2, h, w), pixels.

        NaN for two equal frames: one that only repeats the other, as at the ends of a clip, tells nothing.
        """
        frames = torch.stack((before, after), 1)
        return self._velocity(frames, self._each(frames))

    def _each(self, frames: Tensor) -> Tensor:
        """The :meth:`features` of frames (B, N, 3, H, W): (B, N, 3 + F, H/2, W/2)."""
        features = self.features(frames.flatten(0, 1))
        return features.view(*frames.shape[:2], *features.shape[1:])

    def _velocity(self, frames: Tensor, features: Tensor) -> Tensor:
        times = frames.new_full((len(frames), 1, 1, 1), PAIR_TIME)
        return velocity_of(self.estimate(features, times), frames[:, 0], frames[:, 1])

    def finest(
        self, frames: Tensor, pair: Tensor, estimate: Tensor, times: Tensor, velocities: Tensor
    ) -> Tensor:
        """What the finest level finds out, timed by four frames (B, 4, 3, H, W): (B, 5 + context, H/2, W/2).

        ``pair`` holds the :meth:`features` of the middle two, ``estimate`` is theirs at ``times``; velocities
        as of :meth:`forward`.
        """
        bend = acceleration(estimate[:, :4], velocities, times, frames.shape[-1]) * self.trust
        moved = estimate[:, :4] + (bend * (times * (1 - times) / 2)).repeat(1, 2, 1, 1)
        estimate = torch.cat((moved, estimate[:, 4:]), 1)
        coarser, scale = self.scales[-2:]
        given = level_inputs(pair[:, 0], pair[:, 1], times, scale, estimate, coarser // scale, bend)
        finest: Tensor = self.levels[-1](*given)
        return finest

    def show(self, frames: Tensor, motion: Tensor, velocities: Tensor) -> tuple[Tensor, Tensor | None]:
        """The frame (B, 3, H, W) that four (B, 4, 3, H, W) and the motion between the middle two make.

        Also what the head corrected, if there is one.
        """
        before, after = frames[:, 1], frames[:, 2]
        fetched = fetch_both(before, after, motion[:, :4])
        correction: Tensor | None = None if self.head is None else self.head(fetched, motion[:, 4:])
        still = overlay(frames.float(), velocities.isnan().flatten(2).all(2))
        return mix(before, after, fetched, motion[:, 4:5], correction, still), correction


def velocity_of(estimate: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """The velocity (B, 2, h, w) of a pair of frames (B, 3, H, W), from its estimate at PAIR_TIME.

    NaN for two equal frames.
    """
    equal = (before == after).flatten(1).all(1).view(-1, 1, 1, 1)
    return (estimate[:, 2:4] - estimate[:, :2]).masked_fill(equal, torch.nan)


def acceleration(flows: Tensor, velocities: Tensor, times: Tensor, width: int) -> Tensor:
    """How velocity changes from frame to frame, (B, 2, h, w) pixels, where the new frame is.

    Flows (B, 4, h, w) of the middle pair at ``times`` (B, 1, 1, 1), velocities (B, 2, 2, h, w) of the pairs
    before and after (NaN = unknown), all in pixels of a frame of this width. Zero where neither is known.
    """
    velocity = flows[:, 2:] - flows[:, :2]
    steps = velocity * (flows.shape[-1] / width)
    known = ~velocities.isnan().flatten(2).any(2)[..., None, None, None]
    first, last = (_smooth(v.nan_to_num()) for v in velocities.unbind(1))
    own = _smooth(velocity)
    first = own - backwarp(first, -steps * (times + PAIR_TIME))
    last = backwarp(last, steps * (2 - PAIR_TIME - times)) - own
    return (first * known[:, 0] + last * known[:, 1]) / known.sum(1).clamp_min(1)


def _smooth(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, SMOOTHED, 1, SMOOTHED // 2, count_include_pad=False)
