"""Recordings: what a CUDA device is asked to do for inputs of one kind, recorded once and replayed.

    Recordings(run)    inputs --> copied to where the recording reads them
                                                |
                       output <-- copied <-- replay of the CUDA graph for their kind

A device computes a frame in fewer milliseconds than Python needs to ask for its hundreds of operations; a
CUDA graph asks once. It reads and writes the same memory each time, so that nothing in between may depend on
numbers the device must first send back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UPS = 3
"""Runs before a recording: kernels are compiled, convolutions choose their algorithms."""
KEPT = 4
"""Recordings that are kept, each with the memory of one run: a video and its tiles have few shapes."""
Kind = tuple[torch.Size, torch.dtype, torch.device]


class CudaGraphCache:
    """A function of tensors on a CUDA device, recorded for each kind of inputs when they first come."""

    def __init__(self, run: Callable[..., Tensor]) -> None:
        self._run = run
        self._kept: OrderedDict[tuple[Kind, ...], CapturedGraph] = OrderedDict()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """As the function, without a gradient."""
        kinds = tuple((x.shape, x.dtype, x.device) for x in inputs)
        # a recording outlives the mode that it was made in
        with torch.inference_mode(False), torch.no_grad():
            if kinds not in self._kept:
                while len(self._kept) >= KEPT:
                    self._kept.popitem(last=False)
                self._kept[kinds] = CapturedGraph(self._run, inputs)
            self._kept.move_to_end(kinds)
            return self._kept[kinds](*inputs)


class CapturedGraph:
    """What a function does for inputs of one kind each, and the memory that it does it in."""

    def __init__(self, run: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
        device = inputs[0].device
        self.inputs = [x.clone() for x in inputs]
        beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                run(*self.inputs)
        torch.cuda.current_stream(device).wait_stream(beside)
        self.graph = torch.cuda.CUDAGraph()
        # other threads may go on: they copy frames to the device and back (tweenlet.interpolation.prefetch)
        with (
            torch.cuda.device(device),
            torch.cuda.graph(self.graph, stream=beside, capture_error_mode="thread_local"),
        ):
            self.output: Tensor = run(*self.inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """As the function, for other inputs of this kind."""
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        self.graph.replay()
        return self.output.clone()
