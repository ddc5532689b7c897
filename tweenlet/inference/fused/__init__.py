"""Fast: the network for inference alone. The same frames but for rounding, in a fraction of time and memory.

Fast(model, dtype):  frames (B, 4, 3, H, W)  ->  (B, 3, H, W), like the model itself

bands    some rows at a time
layers   convolutions by Winograd's method, with the activations around them and the sum after them
blocks   of the boxes: sums, gates and norms in one pass, in place
prepare  a box with norms and activations folded, and these layers and blocks in place of the plain ones
features, kernels, fusion, texture: boxes, made in parts so that what is large is never whole
cuda     the same for a GPU
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from tweenlet.inference.fused.adacof_heads import FastKernels
from tweenlet.inference.fused.blocks import FastLevel
from tweenlet.inference.fused.features import FastFeatures
from tweenlet.inference.fused.fuse import prepared
from tweenlet.inference.fused.fusion import FastFusion
from tweenlet.inference.fused.layers import Winograd, channels_last
from tweenlet.inference.fused.texture import FastTexture
from tweenlet.network.blocks import Tile
from tweenlet.network.four_frames import FourFrameFlow, Motion
from tweenlet.network.intermediate_flow import IntermediateFlow
from tweenlet.network.stmfnet import STMFNet, check, join
from tweenlet.ops.dispatch import compiled


class Fast(nn.Module):
    """A copy of ``model`` for inference: what the model learns later, it does not know.

    With bfloat16 or float16 as ``dtype`` the convolutions run in it; pictures, the places where they are
    sampled, and the last layers of the fusion stay float32.
    """

    def __init__(self, model: STMFNet, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.config, self.stride, self.padding = model.config, model.stride, model.padding
        at_home = next(model.parameters()).device.type == "cpu" and compiled(dtype)
        products = dtype if at_home else torch.float32
        self.dtype, self.products = dtype, products
        self.features = None if model.features is None else FastFeatures(model.features, dtype, products)
        self.kernels = None if model.kernels is None else FastKernels(model.kernels, dtype, products)
        self.flow = None if model.flow is None else prepared(model.flow, products=products)
        self.intermediate = None
        if model.intermediate is not None:
            self.intermediate = prepared(model.intermediate, products=products)
            finest = self.intermediate.levels[-1]
            if isinstance(self.intermediate, FourFrameFlow) and self.intermediate.head is None:
                assert isinstance(finest, FastLevel)
                finest.keep(5)  # nothing reads its context
        self.takes_time = model.takes_time
        self.fusion = None
        if model.fusion is not None:
            self.fusion = FastFusion(model.fusion, dtype, products)
        self.texture = None if model.texture is None else FastTexture(model.texture, dtype, products)
        if at_home:
            for part in self.modules():
                if isinstance(part, Winograd):
                    part.kernels()  # before there is a frame: what stays lies beside what stays

    def precision(self, device: torch.device) -> AbstractContextManager[object]:
        """Within it, its parts run in its ``dtype`` where it has no layers of its own for that."""
        return torch.autocast(device.type, self.dtype, enabled=self.dtype != self.products)

    @torch.no_grad()
    def forward(
        self,
        frames: Tensor,
        motion: Motion | None = None,
        time: float | Tensor = 0.5,
        *,
        tile: Tile | None = None,
    ) -> Tensor:
        """As the model's own."""
        if self.intermediate is not None:
            with self.precision(frames.device):
                if isinstance(self.intermediate, IntermediateFlow):
                    check(frames, 1)
                    return self.intermediate.frame(frames[:, 1], frames[:, 2], time)
                check(frames, self.stride)
                return self.intermediate.frame(frames, time, motion)
        check(frames, self.stride)
        before, after = frames[:, 1], frames[:, 2]
        made: dict[float, Tensor] = {}
        if self.features is not None and self.kernels is not None:
            made |= self.kernels(self.features(before, after, tile), before, after, tile)
        with self.precision(frames.device):
            if self.flow is not None:
                join(made, {1.0: self.flow(channels_last(before), channels_last(after))})
        assert self.fusion is not None  # as only a network that stands alone has none
        draft: Tensor = self.fusion({scale: channels_last(x, self.dtype) for scale, x in made.items()})
        return draft if self.texture is None else draft + self.texture(frames, draft, tile)
