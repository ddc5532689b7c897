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

from tweenlet.config import IntermediateFlowConfig
from tweenlet.network.intermediate_flow import Interpolation, Level, activation, check_time, resize
from tweenlet.ops.overlay import overlay
from tweenlet.ops.warp import backwarp

SMOOTHED = 5
"""Side of the neighbourhood that velocities are averaged over, in pixels of the coarse levels."""
PAIR_TIME = 0.5
"""When between its two frames the velocity of a pair is measured."""


class HalfSizeEncoder(nn.Module):
    """Features of one frame at half of its size."""

    def __init__(self, hidden: int, outputs: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, hidden, 3, 2, 1), activation(),
            nn.Conv2d(hidden, hidden, 3, 1, 1), activation(),
            nn.Conv2d(hidden, hidden, 3, 1, 1), activation(),
        )  # fmt: skip
        self.out = nn.Conv2d(hidden, outputs, 3, 1, 1)

    def forward(self, frame: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, outputs, H/2, W/2)."""
        features: Tensor = self.out(self.layers(frame))
        return features


class ResidualHead(nn.Module):
    """Corrects the mask and the mixed frame by what both fetched frames show; a fresh one changes nothing."""

    def __init__(self, width: int, context: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4 * 2 * 3 + 1 + context, width, 3, 1, 1), activation(),
            nn.Conv2d(width, width, 3, 1, 1), activation(),
            nn.Conv2d(width, 4 * 4, 3, 1, 1), nn.PixelShuffle(2),
        )  # fmt: skip
        for parameter in self.layers[4].parameters():
            nn.init.zeros_(parameter)

    def forward(self, before: Tensor, after: Tensor, mask: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Fetched frames (B, 3, H, W), mask, context (B, C, H/2, W/2) -> what to add to frame and mask."""
        unshuffled = F.pixel_unshuffle(torch.cat((before, after), 1), 2)
        out: Tensor = self.layers(torch.cat((unshuffled, mask, context), 1)).float()
        return out[:, :3], out[:, 3:]


class FourFrameFlow(nn.Module):
    """The levels of a config; scales run from coarse to 2, and the finest is timed."""

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
        if velocities is None:
            outer = self.velocity(frames[:, ::2].flatten(0, 1), frames[:, 1::2].flatten(0, 1))
            velocities = outer.view(-1, 2, *outer.shape[1:])
        flows, mask, context = self.motion(frames[:, 1:3], check_time(time, frames), velocities)
        flows, full_mask = resize(flows, 2), resize(mask, 2)
        before, after = fetch(frames[:, 1], flows[:, :2]), fetch(frames[:, 2], flows[:, 2:])
        residual = frames.new_zeros(())
        if self.head is not None:
            residual, correction = self.head(before, after, mask, context)
            full_mask = full_mask + correction
        frame = after.lerp(before, torch.sigmoid(full_mask)) + residual
        still = overlay(frames.float(), velocities.isnan().flatten(2).all(2))
        return Interpolation(frame.lerp(frames[:, 1:3].mean(1), still), (flows,), full_mask)

    def motion(self, pair: Tensor, times: Tensor, velocities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The middle pair (B, 2, 3, H, W) -> flows (pixels of the frame), mask (a logit), context.

        They are (B, 4, H/2, W/2), (B, 1, H/2, W/2) and (B, C, H/2, W/2).
        """
        pyramid = [level.view(-1, 2, *level.shape[1:]) for level in self.pyramid(pair.flatten(0, 1))]
        flows, mask, context = self._coarse(pyramid, times)
        bend = acceleration(flows, velocities, times, pair.shape[-1]) * self.trust
        flows = flows + (bend * (times * (1 - times) / 2)).repeat(1, 2, 1, 1)
        return self._refine(-1, pyramid[-1], flows, mask, context, times, bend)

    def velocity(self, before: Tensor, after: Tensor) -> Tensor:
        """How far what is halfway moves from frame to frame: (B, 3, H, W) twice -> (B, 2, h, w), pixels.

        NaN for two equal frames: one that only repeats the other, as at the ends of a clip, tells nothing.
        """
        pyramid = [torch.stack(level.chunk(2), 1) for level in self.pyramid(torch.cat((before, after)))]
        times = before.new_full((before.shape[0], 1, 1, 1), PAIR_TIME)
        flows = self._coarse(pyramid, times)[0]
        equal = (before == after).flatten(1).all(1).view(-1, 1, 1, 1)
        return (flows[:, 2:] - flows[:, :2]).masked_fill(equal, torch.nan)

    def pyramid(self, frames: Tensor) -> list[Tensor]:
        """Frames (N, 3, H, W) and their features, for each level: (N, 3 + F, H/scale, W/scale)."""
        known = torch.cat((F.avg_pool2d(frames, 2), self.encode(frames)), 1)
        return [known if scale == 2 else F.avg_pool2d(known, scale // 2) for scale in self.scales]

    def _coarse(self, pair: list[Tensor], times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All levels but the finest: pixels of the frame, at the size of the last of them."""
        known = pair[0]
        plane = times.expand(-1, 1, *known.shape[-2:])
        flows, mask, context = self.levels[0](torch.cat((_pairwise(known[:, 0], known[:, 1]), plane), 1))
        for level in range(1, len(self.levels) - 1):
            flows, mask, context = self._refine(level, pair[level], flows, mask, context, times)
        return flows, mask, context

    def _refine(
        self,
        level: int,
        pair: Tensor,
        flows: Tensor,
        mask: Tensor,
        context: Tensor,
        times: Tensor,
        *more: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One level finer: what the last one knew, enlarged, and corrected."""
        scale = self.scales[level]
        factor = pair.shape[-1] // flows.shape[-1]
        flows, mask, context, *others = (resize(x, factor) for x in (flows, mask, context, *more))
        small = flows / scale
        warped = _pairwise(backwarp(pair[:, 0], small[:, :2]), backwarp(pair[:, 1], small[:, 2:]))
        plane = times.expand(-1, 1, *flows.shape[-2:])
        inputs = torch.cat((warped, plane, mask, context, small, *(x / scale for x in others)), 1)
        correction, mask, context = self.levels[level](inputs)
        return flows + correction, mask, context


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


def fetch(frame: Tensor, flow: Tensor) -> Tensor:
    """Sample a frame (B, C, H, W) at p + flow (B, 2, H, W; pixels, x then y), bicubic; its border goes on."""
    height, width = frame.shape[-2:]
    x = torch.arange(width, dtype=flow.dtype, device=flow.device) + flow[:, 0]
    y = torch.arange(height, dtype=flow.dtype, device=flow.device)[:, None] + flow[:, 1]
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), -1)
    return F.grid_sample(frame, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _pairwise(first: Tensor, second: Tensor) -> Tensor:
    """Of two known frames, (B, 3 + F, h, w) each: both frames, then the features of both."""
    return torch.cat((first[:, :3], second[:, :3], first[:, 3:], second[:, 3:]), 1)
