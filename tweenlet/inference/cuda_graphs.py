"""CUDA graphs: the operations for inputs of one shape, captured once and replayed.

    CudaGraphCache(run)    inputs --> copied to where the graph reads them
                                                |
                           output <-- copied <-- replay of the graph for their shapes

A device computes a frame in fewer milliseconds than Python needs to launch its hundreds of operations; a CUDA
graph launches them at once. It reads and writes the same memory each time, and nothing in it may depend on
values that the device must first send back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UPS = 3
"""Warm-up runs before the capture: kernels are compiled and cuDNN chooses algorithms."""
CACHED = 4
"""Graphs to keep, each with the memory of one run: a video and its tiles have few shapes."""
Kind = tuple[torch.Size, torch.dtype, torch.device]


class CudaGraphCache:
    """A function of tensors on a CUDA device, captured the first time each kind of input comes."""

    def __init__(self, run: Callable[..., Tensor]) -> None:
        self._run = run
        self._graphs: OrderedDict[tuple[Kind, ...], CapturedGraph] = OrderedDict()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Call the function, without gradients."""
        kinds = tuple((x.shape, x.dtype, x.device) for x in inputs)
        # the graph outlives inference mode
        with torch.inference_mode(False), torch.no_grad():
            if kinds not in self._graphs:
                while len(self._graphs) >= CACHED:
                    self._graphs.popitem(last=False)
                self._graphs[kinds] = CapturedGraph(self._run, inputs)
            self._graphs.move_to_end(kinds)
            return self._graphs[kinds](*inputs)


class CapturedGraph:
    """A function captured for inputs of one shape, dtype and device, with the memory of its run."""

    def __init__(self, run: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
        device = inputs[0].device
        self.inputs = [x.clone() for x in inputs]
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                run(*self.inputs)
        torch.cuda.current_stream(device).wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        # other threads keep copying frames to and from the device (tweenlet.interpolation.prefetch)
        with (
            torch.cuda.device(device),
            torch.cuda.graph(self.graph, stream=side, capture_error_mode="thread_local"),
        ):
            self.output: Tensor = run(*self.inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Replay the function on other inputs of the same kind."""
        for own, new in zip(self.inputs, inputs, strict=True):
            own.copy_(new)
        self.graph.replay()
        return self.output.clone()
