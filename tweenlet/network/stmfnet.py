"""STMFNet: the one network. Four frames in, the frame between the middle two out.

    frames (B, 4, 3, H, W) in [0, 1]  ->  (B, 3, H, W)

    before, after --> features --> kernels --+
          |                                  +--> candidates --> fusion --> draft --+--> frame
          +---------> flow or motion --------+                                      |
    all four frames --------------------------------------> texture ----------------+

Danier et al., "ST-MFNet", 2022; Morris et al., "ST-MFNet Mini", 2023. Teacher, student and every pruned
network differ in their :class:`~tweenlet.network.config.ModelConfig` only.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tweenlet.flow.dis import window_flows
from tweenlet.network.adacof_heads import Kernels
from tweenlet.network.blocks import Tile
from tweenlet.network.config import ModelConfig
from tweenlet.network.features import Features
from tweenlet.network.flow import Flow
from tweenlet.network.four_frames import FourFrameFlow
from tweenlet.network.four_frames import Motion as KnownMotion
from tweenlet.network.fusion import Fusion
from tweenlet.network.intermediate_flow import IntermediateFlow, Interpolation
from tweenlet.network.motion import Motion
from tweenlet.network.texture import Texture
from tweenlet.ops.candidates import MERGED_CHANNELS
from tweenlet.ops.overlay import BLOCK

FRAMES = 4
TEXTURE_STRIDE = 8


class STMFNet(nn.Module):
    """One network of the family, untrained: four frames in, the one in their middle out.

    Args:
        config: its branches, widths and scales.

    Attributes:
        stride: height and width must be multiples of this.
        padding: how frames of other sizes are padded to the next multiple: "mirrored" or "zeros".
        takes_time: whether it makes the frame at any time between the middle two.

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
        self.kernels = (
            None
            if config.features is None
            else Kernels(
                config.features[0], config.kernel_hidden, config.kernel_size, config.dilation, config.scales
            )
        )
        self.flow = Flow(config.flow) if isinstance(config.flow, tuple) else None
        self.motion = None if config.refine is None else Motion(config.refine)
        self.fusion = None if config.grid is None else Fusion(config.scales, config.grid, candidates(config))
        if self.fusion is not None and self.motion is not None:
            self.fusion.start_silent()
        self.texture = None if config.texture is None else Texture(config.texture, config.texture_out)
        self.intermediate = intermediate_flow(config)
        self.takes_time = self.intermediate is not None
        self.padding = "mirrored" if self.intermediate is None else self.intermediate.padding
        self.stride = max(
            1 if self.intermediate is None else self.intermediate.stride,
            round(1 / config.scales[-1]),
            2 ** len(config.features or ()),
            2 ** len(config.flow) if isinstance(config.flow, tuple) else 1,
            2 ** len(config.refine or ()),
            BLOCK if config.refine else 1,
            TEXTURE_STRIDE if config.texture else 1,
        )

    def forward(
        self,
        frames: Tensor,
        flows: Tensor | KnownMotion | None = None,
        time: float | Tensor = 0.5,
        *,
        tile: Tile | None = None,
    ) -> Tensor:
        """Four frames (B, 4, 3, H, W) in [0, 1] -> the frame between the middle two, (B, 3, H, W).

        It lies halfway, or where the network ``takes_time``, at a ``time`` (a number or (B,)) in (0, 1).

        A network with classical motion takes its ``flows`` (B, 4, 2, H, W; as
        :func:`~tweenlet.flow.dis.window_flows` makes them) or finds them itself, one of four frames the
        motion in them, if it was found before; others take none. Frames that are a piece of larger ones come
        with the ``tile`` that they are. The result is not clamped.
        ValueError for another shape, or when H or W is no multiple of ``stride``.
        """
        if self.intermediate is not None:
            assert not isinstance(flows, Tensor)
            return between(self.intermediate, frames, flows, time)
        check(frames, self.stride)
        if not isinstance(time, Tensor) and time != 0.5:
            raise ValueError(f"this network makes the frame halfway (time 0.5), got time {time}")
        before, after = frames[:, 1], frames[:, 2]
        made: dict[float, Tensor] = {}
        if self.features is not None and self.kernels is not None:
            made |= self.kernels(self.features(before, after, tile), before, after, tile)
        if self.flow is not None:
            join(made, {1.0: self.flow(before, after)})
        draft = frames.new_zeros(())
        if self.motion is not None:
            assert flows is None or isinstance(flows, Tensor)
            merged = self.motion(frames, window_flows(frames) if flows is None else flows)
            if self.fusion is not None:
                join(made, merged.candidates)
            draft = merged.frame
        if self.fusion is not None:
            draft = draft + self.fusion(made)
        return draft if self.texture is None else draft + self.texture(frames, draft, tile)


def intermediate_flow(config: ModelConfig) -> IntermediateFlow | FourFrameFlow | None:
    """The intermediate-flow branch of a config, if it has one."""
    if config.intermediate is None:
        return None
    return (FourFrameFlow if config.intermediate.four_frames else IntermediateFlow)(config.intermediate)


def between(
    branch: IntermediateFlow | FourFrameFlow, frames: Tensor, motion: KnownMotion | None, time: float | Tensor
) -> Tensor:
    """The frame that an intermediate-flow branch makes of four; its own arguments and errors."""
    result: Interpolation
    if isinstance(branch, IntermediateFlow):
        check(frames, 1)
        result = branch(frames[:, 1], frames[:, 2], time)
    else:
        check(frames, branch.stride)
        result = branch(frames, time, motion)
    return result.frame


def check(frames: Tensor, stride: int) -> None:
    """Refuse in words what the network does not take."""
    if frames.dim() != 5 or frames.shape[1:3] != (FRAMES, 3):
        raise ValueError(f"expected frames of shape (B, {FRAMES}, 3, H, W), got {tuple(frames.shape)}")
    height, width = frames.shape[-2:]
    if height % stride or width % stride:
        raise ValueError(f"height and width must be multiples of {stride}, got {height}x{width}")


def candidates(config: ModelConfig) -> dict[float, int]:
    """How many channels of candidates enter the fusion at each scale."""
    channels = dict.fromkeys(config.scales, 0 if config.features is None else 6)
    if isinstance(config.flow, tuple):
        channels[1.0] += 6
    if config.refine:
        channels[1.0] += MERGED_CHANNELS
        if 0.5 in channels:
            channels[0.5] += config.refine[0]
    return channels


def join(candidates: dict[float, Tensor], more: Mapping[float, Tensor]) -> None:
    """Add more candidates to those of each scale."""
    for scale, tensor in more.items():
        candidates[scale] = torch.cat((candidates[scale], tensor), 1) if scale in candidates else tensor
