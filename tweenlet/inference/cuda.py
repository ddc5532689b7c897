"""The network for inference on a CUDA device, eagerly or as CUDA graphs.

    CudaSTMFNet(model, dtype)   frames (B, 4, 3, H, W)  ->  (B, 3, H, W), like the model itself
    CudaGraphed(network)        the same, as a CUDA graph for each shape (`tweenlet.inference.cuda_graphs`)

Motion computed beforehand is an input of the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tweenlet.inference.cuda_graphs import CudaGraphCache
from tweenlet.inference.fused.adacof_heads import KINDS
from tweenlet.inference.fused.fuse import CONVOLUTIONS, fold_norms
from tweenlet.inference.fused.layers import Conv3d
from tweenlet.network.adacof_heads import SCALE_NAMES, MultiFlow
from tweenlet.network.blocks import PerSliceConv3d, Tile, run
from tweenlet.network.intermediate_flow import check_time
from tweenlet.network.motion import Motion, Precomputed
from tweenlet.network.stmfnet import STMFNet, check
from tweenlet.ops.adacof import adacof

MEMORY_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""Memory format of a convolution's weights by their number of dimensions; its output has the same."""


class CudaSTMFNet(STMFNet):
    """A copy of ``model`` for inference on a CUDA device; later changes of the model do not affect it.

    The plain network with norms folded, convolutions in ``dtype`` and channels last, and taps given
    to the AdaCoF kernel. The rest runs under autocast; pictures, the positions where they are sampled, and
    the last layers of the fusion stay float32. It runs on other devices too, only slower.
    """

    def __init__(self, model: STMFNet, dtype: torch.dtype = torch.float32):
        super().__init__(model.config)
        self.dtype = dtype
        self.load_state_dict(model.state_dict())
        self.to(next(model.parameters()).device).eval().requires_grad_(False)
        parts = list(self.modules())
        for part in parts:
            if isinstance(part, nn.Sequential):
                fold_norms(part)
            for name, child in part.named_children():
                if isinstance(child, PerSliceConv3d):  # the 2-D form is only faster on CPUs
                    padding = tuple(size // 2 for size in child.kernel_size)
                    setattr(part, name, Conv3d(child.weight, child.bias, child.stride, padding))
        for layer in self.modules():
            if isinstance(layer, (*CONVOLUTIONS, Conv3d)):
                for parameter in layer.parameters(recurse=False):
                    memory_format = MEMORY_FORMATS.get(parameter.dim(), torch.contiguous_format)
                    parameter.data = parameter.data.to(dtype, memory_format=memory_format)
        if self.fusion is not None:
            self.fusion.final = InFloat32(self.fusion.final)  # type: ignore[assignment]
        if self.multi_flow is not None:
            self.multi_flow = CudaMultiFlow(self.multi_flow)  # type: ignore[assignment]

    @torch.no_grad()
    def forward(
        self,
        frames: Tensor,
        motion: Precomputed | None = None,
        time: float | Tensor = 0.5,
        *,
        tile: Tile | None = None,
    ) -> Tensor:
        """As :meth:`tweenlet.network.stmfnet.STMFNet.forward`; float32."""
        with self.precision(frames.device):
            return super().forward(frames, motion, time, tile=tile).float()

    @contextmanager
    def precision(self, device: torch.device) -> Iterator[None]:
        """Context in which the parts run in ``dtype``, with cuDNN's fastest convolution algorithms."""
        half = self.dtype != torch.float32
        with _benchmark_convolutions(), torch.autocast(device.type, self.dtype, enabled=half):
            yield


class CudaMultiFlow(nn.Module):
    """:class:`~tweenlet.network.adacof_heads.MultiFlow` whose heads leave the softmax to AdaCoF.

    A head leaves its taps channels last, the fastest layout for AdaCoF's own kernel.
    """

    def __init__(self, plain: MultiFlow):
        super().__init__()
        self.plain = plain

    def forward(
        self, features: Tensor, before: Tensor, after: Tensor, tile: Tile | None = None
    ) -> dict[float, Tensor]:
        """As :meth:`tweenlet.network.adacof_heads.MultiFlow.forward`; candidates are float32."""
        candidates = {}
        for scale in self.plain.scales:
            frames = []
            for name, frame in (("before", before), ("after", after)):
                head = self.plain.heads[f"{SCALE_NAMES[scale]}_{name}"]
                weight, rows, columns = (run(getattr(head, kind), features, tile) for kind in KINDS)
                with torch.autocast(frame.device.type, enabled=False):
                    picture = self.plain.resize(frame.float(), scale)
                    frames.append(adacof(picture, weight, rows, columns, self.plain.dilation, softmax=True))
            candidates[scale] = torch.cat(frames, 1)
        return candidates


class InFloat32(nn.Module):
    """Layers that stay in float32 under autocast."""

    def __init__(self, layers: nn.Module):
        super().__init__()
        self.layers = layers.float()

    def forward(self, x: Tensor) -> Tensor:
        """As the layers' own forward."""
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = self.layers(x.float())
        return out


class CudaGraphed(nn.Module):
    """A network on a CUDA device, captured as a CUDA graph the first time each input shape comes."""

    def __init__(self, network: STMFNet):
        super().__init__()
        self.network, self.config = network, network.config
        self.stride, self.padding = network.stride, network.padding
        self._graphs = CudaGraphCache(self._run)

    def forward(
        self, frames: Tensor, motion: Motion | None = None, time: float | Tensor | None = None
    ) -> Tensor:
        """As the network's own."""
        check(frames, self.stride)
        inputs = [frames, *(motion or ())]
        if self.network.takes_time:
            times = torch.as_tensor(0.5 if time is None else time, dtype=torch.float32)
            inputs.append(check_time(times, frames))
        return self._graphs(*inputs)

    def _run(self, frames: Tensor, *inputs: Tensor) -> Tensor:
        frame: Tensor
        if self.network.takes_time:
            *motion, times = inputs
            frame = self.network(frames, Motion(*motion) if motion else None, times)
        else:
            frame = self.network(frames)
        return frame


@contextmanager
def _benchmark_convolutions() -> Iterator[None]:
    """Let cuDNN benchmark its algorithms on the first convolution of each shape."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
