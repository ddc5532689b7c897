"""STMFNet: the one network. Four frames in, the frame between the middle two out.

    frames (B, 4, 3, H, W) in [0, 1]  ->  (B, 3, H, W)

    before, after --> features --> kernels --+
          |                                  +--> candidates --> fusion --> draft --+--> frame
          +---------> flow ------------------+                                      |
    all four frames --------------------------------------> texture ----------------+

Danier et al., "ST-MFNet", 2022; Morris et al., "ST-MFNet Mini", 2023. Teacher, student and every pruned
network differ in their :class:`~tweenlet.config.ModelConfig` only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tweenlet.config import ModelConfig
from tweenlet.network.features import Features
from tweenlet.network.flow import Flow
from tweenlet.network.fusion import Fusion
from tweenlet.network.kernels import Kernels
from tweenlet.network.texture import Texture

FRAMES = 4
TEXTURE_STRIDE = 8


class STMFNet(nn.Module):
    """One network of the family, as ``config`` says; ``stride`` is what H and W must be multiples of."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        if isinstance(config.flow, str):
            raise ValueError(f'flow = "{config.flow}" has no network yet')
        self.config = config
        per_scale = {
            scale: 6 * (config.features is not None) + 6 * (config.flow is not None and scale == 1.0)
            for scale in config.scales
        }
        self.features = None if config.features is None else Features(config.features)
        self.kernels = (
            None
            if config.features is None
            else Kernels(
                config.features[0], config.kernel_hidden, config.kernel_size, config.dilation, config.scales
            )
        )
        self.flow = None if config.flow is None else Flow(config.flow)
        self.fusion = Fusion(config.scales, config.grid, per_scale)
        self.texture = None if config.texture is None else Texture(config.texture, config.texture_out)
        self.stride = max(
            round(1 / config.scales[-1]),
            2 ** len(config.features or ()),
            2 ** len(config.flow or ()),
            TEXTURE_STRIDE if config.texture else 1,
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Four frames (B, 4, 3, H, W) in [0, 1] -> the frame halfway between the middle two, (B, 3, H, W).

        The result is not clamped. ValueError for another shape, or when H or W is no multiple of ``stride``.
        """
        if frames.dim() != 5 or frames.shape[1:3] != (FRAMES, 3):
            raise ValueError(f"expected frames of shape (B, {FRAMES}, 3, H, W), got {tuple(frames.shape)}")
        height, width = frames.shape[-2:]
        if height % self.stride or width % self.stride:
            raise ValueError(f"height and width must be multiples of {self.stride}, got {height}x{width}")
        before, after = frames[:, 1], frames[:, 2]
        candidates: dict[float, Tensor] = {}
        if self.features is not None and self.kernels is not None:
            candidates = self.kernels(self.features(before, after), before, after)
        if self.flow is not None:
            splatted = self.flow(before, after)
            full = torch.cat((candidates[1.0], splatted), 1) if candidates else splatted
            candidates = {**candidates, 1.0: full}
        draft: Tensor = self.fusion(candidates)
        return draft if self.texture is None else draft + self.texture(frames, draft)
