"""The network for inference on a CPU: the same frames up to rounding, in a fraction of the time and memory.

    STMFNet --each part replaced by its fused one--> FusedSTMFNet

fuse      a copy of a part, with norms and activations folded and plain blocks replaced by these
layers    convolutions by Winograd's method, fused with the activations around them and the sum after them
blocks    sums, gates and norms in one pass, in place
bands     images in bands of rows, with a halo
features, adacof_heads, fusion, texture: parts that never hold a large intermediate whole

The same for a CUDA device: :mod:`tweenlet.inference.cuda`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from tweenlet.inference.fused.adacof_heads import FusedMultiFlow
from tweenlet.inference.fused.blocks import FusedLevel
from tweenlet.inference.fused.features import FusedFeatures
from tweenlet.inference.fused.fuse import fuse_for_inference
from tweenlet.inference.fused.fusion import FusedFusion
from tweenlet.inference.fused.layers import Winograd, channels_last
from tweenlet.inference.fused.texture import FusedTexture
from tweenlet.network.adacof_heads import MultiFlow
from tweenlet.network.features import Features
from tweenlet.network.flow import Flow
from tweenlet.network.four_frames import FourFrameFlow
from tweenlet.network.fusion import Fusion
from tweenlet.network.intermediate_flow import IntermediateFlow
from tweenlet.network.motion import EncodedPair, Estimate, Motion, Precomputed
from tweenlet.network.stmfnet import PART_NAMES, STMFNet, check
from tweenlet.network.texture import Texture
from tweenlet.ops.dispatch import has_native


class FusedFlow(nn.Module):
    """:class:`~tweenlet.network.flow.Flow`, channels last; without native code in ``dtype`` by autocast."""

    def __init__(self, plain: Flow, dtype: torch.dtype, compute_dtype: torch.dtype):
        super().__init__()
        self.plain = fuse_for_inference(plain, compute_dtype=compute_dtype)
        self.dtype, self.compute_dtype = dtype, compute_dtype

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Frames (B, 3, H, W) in [0, 1] -> both splatted to the middle, (B, 6, H, W)."""
        with torch.autocast(before.device.type, self.dtype, enabled=self.dtype != self.compute_dtype):
            both: Tensor = self.plain(channels_last(before), channels_last(after))
        return both


PARTS: dict[type[nn.Module], Callable[[Any, torch.dtype, torch.dtype], nn.Module]] = {
    Features: FusedFeatures,
    MultiFlow: FusedMultiFlow,
    Flow: FusedFlow,
    Fusion: FusedFusion,
    Texture: FusedTexture,
    IntermediateFlow: lambda plain, _, compute_dtype: fuse_for_inference(plain, compute_dtype=compute_dtype),
    FourFrameFlow: lambda plain, _, compute_dtype: fuse_for_inference(plain, compute_dtype=compute_dtype),
}
"""Class of a part -> function of the part, the dtype and the dtype of native products to its replacement."""


class FusedSTMFNet(STMFNet):
    """A copy of ``model`` for inference; later changes of the model do not affect it.

    With bfloat16 or float16 as ``dtype`` the convolutions run in it; pictures, the positions where they are
    sampled, and the last layers of the fusion stay float32.
    """

    def __init__(self, model: STMFNet, dtype: torch.dtype = torch.float32):
        nn.Module.__init__(self)  # STMFNet's own would build parts only to replace them
        self.config, self.stride, self.padding = model.config, model.stride, model.padding
        self.takes_time = model.takes_time
        native = next(model.parameters()).device.type == "cpu" and has_native(dtype)
        self.dtype, self.compute_dtype = dtype, dtype if native else torch.float32
        for name in PART_NAMES:
            part = getattr(model, name)
            fused = None if part is None else PARTS[type(part)](part, dtype, self.compute_dtype)
            setattr(self, name, fused)
        if self.intermediate is not None and getattr(self.intermediate, "head", None) is None:
            finest = self.intermediate.levels[-1]
            assert isinstance(finest, FusedLevel)
            finest.keep_channels(5)  # nothing reads its context
        if native:
            for part in self.modules():
                if isinstance(part, Winograd):
                    part.pack()  # before the first frame, so that long-lived tensors are adjacent in memory
        self.eval()

    def precision(self, device: torch.device) -> AbstractContextManager[object]:
        """Context in which an intermediate-flow branch runs in ``dtype`` where its own layers do not."""
        return torch.autocast(device.type, self.dtype, enabled=self.dtype != self.compute_dtype)

    forward = torch.no_grad()(STMFNet.forward)

    def frame_at(self, frames: Tensor, motion: Precomputed | None, time: float | Tensor) -> Tensor:
        """As the plain network's, without the full-size flows and mask, which only training needs."""
        with self.precision(frames.device):
            if isinstance(self.intermediate, IntermediateFlow):
                assert not isinstance(motion, Motion | Estimate)
                check(frames, 1)
                return self.intermediate.frame(frames[:, 1], frames[:, 2], time, motion)
            assert self.intermediate is not None
            assert not isinstance(motion, EncodedPair)
            check(frames, self.stride)
            return self.intermediate.frame(frames, time, motion)
