"""Onnx: any network in an ONNX file as a Method."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tweenlet.evaluation.baselines.method import sha256
from tweenlet.inference.onnx_session import Session
from tweenlet.interpolation.tiling import padded
from tweenlet.network.stmfnet import FRAMES
from tweenlet.runtime.extras import import_extra

_MULTIPLES = (1, 8, 16, 32, 64, 128)  # an ONNX file does not state the multiple its network requires
TIME, HALFWAY = "time", np.full(1, 0.5, np.float32)
"""Input of networks that predict a frame at any time, as our own export names it, and its value."""


class Onnx:
    """An ONNX file as a Method, run by ONNX Runtime on the CPU, on as many threads as torch.

    The file takes RGB in [0, 1], float32: all four frames (B, 4, 3, h, w); or four frames or the middle two
    as separate inputs (B, 3, h, w); or those concatenated, (B, 12, h, w) or (B, 6, h, w). An input "time",
    (1,), or a 13th plane after four frames, is one half. Its first output is the frame between the middle
    two, (B, 3, h, w). If it rejects a frame size, or returns another size, frames are padded to the first
    accepted multiple of 8, 16, 32, 64 or 128, and the result is cropped.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: ONNX Runtime is not installed.
        ValueError: the file cannot be run, or has other inputs.

    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
        import_extra("onnxruntime")
        self._session = Session(self.path, torch.get_num_threads())
        inputs = [x for x in self._session.inputs if x.name != TIME]
        self._times = {TIME: HALFWAY} if len(inputs) < len(self._session.inputs) else {}
        self._names = [x.name for x in inputs]
        self._shape = inputs[0].shape if inputs else []
        arrange = _arrangement(len(inputs), self._shape)
        if arrange is None or any(x.type != "tensor(float)" for x in inputs):
            raise ValueError(
                f"{path} does not fit: expected an input of (B, 4, 3, h, w), (B, 12 or 13, h, w) or "
                "(B, 6, h, w), or 2 or 4 inputs of (B, 3, h, w), all float; "
                f"got {[(x.name, x.shape, x.type) for x in inputs]}"
            )
        self._arrange = arrange
        self._multiple = 1
        runtime = version("onnxruntime")
        self.description = f"{Path(path).name}, run by ONNX Runtime {runtime} on the CPU, padded if needed"

    def __call__(self, frames: Tensor) -> Tensor:
        """Predict the middle frame, not clamped. Raises ValueError for a size that cannot be run."""
        return self.batch(frames.unsqueeze(0))[0]

    def batch(self, frames: Tensor) -> Tensor:
        """Predict a batch: (B, 4, 3, H, W) -> (B, 3, H, W) on the same device; errors as for one call."""
        height, width = frames.shape[-2:]
        pictures, reason = frames.float().cpu().flatten(0, 1), ""
        for multiple in _MULTIPLES[_MULTIPLES.index(self._multiple) :]:
            window = padded(pictures, multiple)
            window = window.view(len(frames), FRAMES, 3, *window.shape[-2:])
            try:
                out = self._run(window)
            except ValueError as error:
                reason = reason or str(error)
                continue
            shape = (len(frames), 3, *window.shape[-2:])
            if out.shape == shape:
                self._multiple = multiple
                return out[..., :height, :width].to(frames.device)
            reason = reason or f"its first output has the shape {tuple(out.shape)}, expected {shape}"
        fixed = any(isinstance(size, int) for size in self._shape[-2:])
        takes = f"takes {self._shape[-1]}x{self._shape[-2]} only" if fixed else "does not run"
        raise ValueError(
            f"{self.path} {takes}: got frames of {width}x{height}, tried as they are and padded to multiples "
            f"of up to {_MULTIPLES[-1]}; {reason}"
        )

    def _run(self, window: Tensor) -> Tensor:
        """Run the file once, or once per sample if its batch size is 1. Errors as for a Session."""
        outputs = []
        for part in window.chunk(len(window) if self._shape[0] == 1 else 1):
            arrays = [tensor.contiguous().numpy() for tensor in self._arrange(part)]
            outputs.append(self._session.run_first(dict(zip(self._names, arrays, strict=True)) | self._times))
        return torch.from_numpy(np.concatenate(outputs)).float()

    @cached_property
    def parameters(self) -> int:
        """Number of values in its initialisers, without shapes (int64); 0 if ``onnx`` is not installed."""
        try:
            import onnx
        except ImportError:
            return 0
        initializers = onnx.load(self.path, load_external_data=False).graph.initializer
        return sum(
            math.prod(tensor.dims) for tensor in initializers if tensor.data_type != onnx.TensorProto.INT64
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file and, if present, of its external weights FILE.onnx.data."""
        weights = Path(f"{self.path}.data")
        return sha256(*(file.read_bytes() for file in (self.path, weights) if file.is_file()))


def _arrangement(inputs: int, shape: Sequence[Any]) -> Callable[[Tensor], list[Tensor]] | None:
    """Choose how frames (B, 4, 3, h, w) become the file's inputs; None if they cannot."""
    channels = shape[1] if len(shape) == 4 else None
    if inputs == 1 and len(shape) == 5 and list(shape[1:3]) == [FRAMES, 3]:
        return lambda frames: [frames]
    if inputs == 1 and channels == 12:
        return lambda frames: [frames.flatten(1, 2)]
    if inputs == 1 and channels == 13:
        return lambda frames: [torch.cat((frames.flatten(1, 2), torch.full_like(frames[:, 0, :1], 0.5)), 1)]
    if inputs == 1 and channels == 6:
        return lambda frames: [frames[:, 1:3].flatten(1, 2)]
    if inputs == 2 and channels == 3:
        return lambda frames: list(frames[:, 1:3].unbind(1))
    if inputs == FRAMES and channels == 3:
        return lambda frames: list(frames.unbind(1))
    return None
