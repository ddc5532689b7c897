"""Fast on a CUDA device: whole frames instead of strips; a frame's work recorded once and replayed.

    FastCuda(model, dtype)      as Fast, but kernels --> heads, channels last --> adacof, a kernel of its own
    Recorded(network)           frames (B, 4, 3, H, W), flows --> copied to where the recording reads them
                                                                    |
                                (B, 3, H, W) <-- copied <-- replay of the CUDA graph for these shapes

A device computes a frame in fewer milliseconds than Python needs to ask for its hundreds of operations; a
CUDA graph asks once. It reads and writes the same memory each time, so that nothing in between may depend on
numbers the device must first send back: the classical flow, found on the CPU, goes in as an input.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tweenlet.network.fast import KINDS, Fast, _prepared
from tweenlet.network.kernels import SCALE_NAMES, Kernels
from tweenlet.network.stmfnet import STMFNet, check
from tweenlet.ops.adacof import adacof
from tweenlet.ops.dis import window_flows

WARM_UPS = 3
"""Runs before a recording: kernels are compiled, convolutions choose their algorithms."""
KEPT = 4
"""Recordings that are kept, each with the memory of one frame: a video and its tiles have few shapes."""


class FastCuda(Fast):
    """:class:`~tweenlet.network.fast.Fast` for a CUDA device; elsewhere it runs too, only slower."""

    def __init__(self, model: STMFNet, dtype: torch.dtype = torch.float32):
        super().__init__(model, dtype)
        if model.kernels is not None:
            self.kernels = WholeKernels(model.kernels, dtype)  # type: ignore[assignment]

    def forward(self, frames: Tensor, flows: Tensor | None = None) -> Tensor:
        """As the model's own."""
        with _tried_convolutions():
            return super().forward(frames, flows)


class WholeKernels(nn.Module):
    """:class:`~tweenlet.network.kernels.Kernels` with heads in ``dtype`` and pictures in float32.

    A head leaves its taps channels last, which is how AdaCoF's own kernel likes them; the softmax is its own.
    """

    def __init__(self, kernels: Kernels, dtype: torch.dtype):
        super().__init__()
        self.plain = _prepared(kernels)
        self.plain.heads.to(dtype)

    def forward(self, features: Tensor, before: Tensor, after: Tensor) -> dict[float, Tensor]:
        """As the plain one's; candidates are float32."""
        candidates = {}
        for scale in self.plain.scales:
            made = []
            for name, frame in (("before", before), ("after", after)):
                head = self.plain.heads[f"{SCALE_NAMES[scale]}_{name}"]
                weight, rows, columns = (getattr(head, kind)(features) for kind in KINDS)
                picture = self.plain.resize(frame.float(), scale)
                made.append(adacof(picture, weight, rows, columns, self.plain.dilation, softmax=True))
            candidates[scale] = torch.cat(made, 1)
        return candidates


class Recorded(nn.Module):
    """A network on a CUDA device, recorded as a CUDA graph when first given inputs of some shape."""

    def __init__(self, network: Fast):
        super().__init__()
        self.network, self.config, self.stride = network, network.config, network.stride
        self._recordings: OrderedDict[tuple[torch.Size, ...], _Recording] = OrderedDict()

    def forward(self, frames: Tensor, flows: Tensor | None = None) -> Tensor:
        """As the network's own."""
        check(frames, self.stride)
        if flows is None and self.network.motion is not None:
            flows = window_flows(frames)
        inputs = [frames] if flows is None else [frames, flows.to(frames.device)]
        shapes = tuple(x.shape for x in inputs)
        with (
            torch.inference_mode(False),
            torch.no_grad(),
        ):  # a recording outlives the mode that it was made in
            if shapes not in self._recordings:
                while len(self._recordings) >= KEPT:
                    self._recordings.popitem(last=False)
                self._recordings[shapes] = _Recording(self.network, inputs)
            self._recordings.move_to_end(shapes)
            return self._recordings[shapes](inputs)


class _Recording:
    """What a network does for inputs of one shape, and the memory that it does it in."""

    def __init__(self, network: nn.Module, inputs: list[Tensor]):
        device = inputs[0].device
        self.inputs = [x.clone() for x in inputs]
        beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                network(*self.inputs)
        torch.cuda.current_stream(device).wait_stream(beside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device), torch.cuda.graph(self.graph):
            self.output: Tensor = network(*self.inputs)

    def __call__(self, inputs: list[Tensor]) -> Tensor:
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        self.graph.replay()
        return self.output.clone()


@contextmanager
def _tried_convolutions() -> Iterator[None]:
    """Let cuDNN try its algorithms on the first convolution of each shape, and keep to the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
