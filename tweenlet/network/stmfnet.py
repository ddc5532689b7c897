"""STMFNet: the network. Four frames in, the frame between the middle two out.

    frames (B, 4, 3, H, W) in [0, 1]  ->  (B, 3, H, W)

    before, after --> features --> multi_flow --+
          |                                     +--> candidates --> fusion --> draft --+--> frame
          +---------> flow ---------------------+                                      |
    all four frames -----------------------------------------> texture ----------------+

Danier et al., "ST-MFNet", 2022; Morris et al., "ST-MFNet Mini", 2023. Teacher, student and every pruned
network differ in their :class:`~tweenlet.network.config.ModelConfig` only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tweenlet.network.adacof_heads import MultiFlow
from tweenlet.network.blocks import Tile
from tweenlet.network.channels import ChannelGraph, Layout, group
from tweenlet.network.config import ModelConfig
from tweenlet.network.features import Features
from tweenlet.network.flow import Flow
from tweenlet.network.four_frames import FourFrameFlow
from tweenlet.network.fusion import Fusion
from tweenlet.network.intermediate_flow import IntermediateFlow, Interpolation
from tweenlet.network.motion import EncodedPair, Estimate, Motion, Precomputed
from tweenlet.network.texture import Texture

FRAMES = 4
PART_NAMES = ("features", "multi_flow", "flow", "fusion", "texture", "intermediate")
"""Attributes of a network's parts, each a module or None."""
CANDIDATES = 6
"""Channels of the candidates of one branch at one scale: one frame from before, one from after."""
TEXTURE_STRIDE = 8


class STMFNet(nn.Module):
    """One network of the family, untrained.

    Args:
        config: its branches, widths and scales.

    Attributes:
        stride: height and width must be multiples of this.
        padding: how frames of other sizes are padded to the next multiple: "mirrored" or "zeros".
        takes_time: whether it predicts the frame at any time between the middle two, or the midpoint only.

    Examples:
        >>> network = tweenlet.STMFNet(tweenlet.MINI).eval()
        >>> frames = torch.rand(1, 4, 3, 32, 32)  # (batch, frame, RGB, height, width)
        >>> with torch.inference_mode():
        ...     network(frames).shape
        torch.Size([1, 3, 32, 32])

    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.features = None if config.features is None else Features(config.features)
        self.multi_flow = (
            None
            if config.features is None
            else MultiFlow(
                config.features[0], config.kernel_hidden, config.kernel_size, config.dilation, config.scales
            )
        )
        self.flow = None if config.flow is None else Flow(config.flow)
        self.fusion = (
            None if config.grid is None else Fusion(config.scales, config.grid, candidate_channels(config))
        )
        self.texture = None if config.texture is None else Texture(config.texture, config.texture_out)
        self.intermediate = intermediate_flow(config)
        self.takes_time = self.intermediate is not None
        self.padding = "mirrored" if self.intermediate is None else self.intermediate.padding
        self.stride = max(
            1 if self.intermediate is None else self.intermediate.stride,
            round(1 / config.scales[-1]),
            2 ** len(config.features or ()),
            2 ** len(config.flow or ()),
            TEXTURE_STRIDE if config.texture else 1,
        )

    def forward(
        self,
        frames: Tensor,
        motion: Precomputed | None = None,
        time: float | Tensor = 0.5,
        *,
        tile: Tile | None = None,
    ) -> Tensor:
        """Four frames (B, 4, 3, H, W) in [0, 1] -> the frame between the middle two, (B, 3, H, W).

        Args:
            frames: H and W are multiples of ``stride``.
            motion: for networks with an intermediate-flow branch, the motion in four frames, or the features
                of the middle two, computed beforehand; None = compute them now.
            time: position between the middle two, a number or (B,), in (0, 1); 1/2 unless the network
                ``takes_time``.
            tile: where ``frames`` lie if they are a tile of larger ones; None = whole frames.

        Returns:
            The frame, not clamped.

        Raises:
            ValueError: frames of another shape, or a time that the network does not take.

        """
        if self.intermediate is not None:
            return self.frame_at(frames, motion, time)
        check(frames, self.stride)
        if not isinstance(time, Tensor) and time != 0.5:
            raise ValueError(f"this network only predicts the midpoint (time 0.5), got time {time}")
        before, after = frames[:, 1], frames[:, 2]
        candidates: dict[float, Tensor] = {}
        if self.features is not None and self.multi_flow is not None:
            candidates |= self.multi_flow(self.features(before, after, tile), before, after, tile)
        if self.flow is not None:
            own = [candidates[1.0]] if candidates else []
            candidates[1.0] = torch.cat([*own, self.flow(before, after)], 1)
        assert self.fusion is not None  # only networks with an intermediate-flow branch have none
        draft: Tensor = self.fusion(candidates)
        return draft if self.texture is None else draft + self.texture(frames, draft, tile)

    def frame_at(self, frames: Tensor, motion: Precomputed | None, time: float | Tensor) -> Tensor:
        """:meth:`forward` of a network with an intermediate-flow branch."""
        result: Interpolation
        if isinstance(self.intermediate, IntermediateFlow):
            assert not isinstance(motion, Motion | Estimate)
            check(frames, 1)
            result = self.intermediate(frames[:, 1], frames[:, 2], time, motion)
        else:
            assert self.intermediate is not None
            assert not isinstance(motion, EncodedPair)
            check(frames, self.stride)
            result = self.intermediate(frames, time, motion)
        return result.frame

    def declare_channels(self, graph: ChannelGraph) -> None:
        """State which channels enter and leave each layer."""
        candidates: dict[float, Layout] = {}
        for scale in self.config.scales:
            candidates[scale] = ()
            if graph.origin.features is not None:
                candidates[scale] += group(CANDIDATES, CANDIDATES if self.multi_flow else 0)
            if graph.origin.flow is not None and scale == 1.0:
                candidates[scale] += group(CANDIDATES, CANDIDATES if self.flow else 0)
        if self.features is not None and self.multi_flow is not None:
            self.multi_flow.declare_channels(graph, self.features.declare_channels(graph))
        if self.fusion is not None:
            self.fusion.declare_channels(graph, candidates)
        for part in (self.flow, self.texture, self.intermediate):
            if part is not None:
                part.declare_channels(graph)


def intermediate_flow(config: ModelConfig) -> IntermediateFlow | FourFrameFlow | None:
    """Build the intermediate-flow branch of a config; None if it has none."""
    if config.intermediate is None:
        return None
    return (FourFrameFlow if config.intermediate.four_frames else IntermediateFlow)(config.intermediate)


def check(frames: Tensor, stride: int) -> None:
    """Raise ValueError for frames of a shape that the network does not take."""
    if frames.dim() != 5 or frames.shape[1:3] != (FRAMES, 3):
        raise ValueError(f"expected frames of shape (B, {FRAMES}, 3, H, W), got {tuple(frames.shape)}")
    height, width = frames.shape[-2:]
    if height % stride or width % stride:
        raise ValueError(f"height and width must be multiples of {stride}, got {height}x{width}")


def candidate_channels(config: ModelConfig) -> dict[float, int]:
    """Number of candidate channels that enter the fusion at each scale."""
    channels = dict.fromkeys(config.scales, 0 if config.features is None else CANDIDATES)
    if config.flow is not None:
        channels[1.0] += CANDIDATES
    return channels
