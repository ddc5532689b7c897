"""Lite: a network of four frames run by ONNX Runtime and numpy, without PyTorch.

    checkpoint.safetensors ── weights ──┐
    graphs/*.onnx ── a session each ────┴──> features, estimate, join, finest, double, show

The graphs and their steps are those of :mod:`tweenlet.inference.lite_graphs`. Arrays are
float32; sides of frames are multiples of the network's stride.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from tweenlet.inference.onnx_session import Session
from tweenlet.network.motion import Estimate, Motion
from tweenlet.network.weight_files import find, read_metadata, rename_from_format_1
from tweenlet.runtime.extras import import_extra
from tweenlet.runtime.json_file import parse_json, read_json

GRAPHS = Path(__file__).parent / "graphs"
Array = NDArray[np.float32]


class LiteNetwork:
    """A checkpoint of the default config, run step by step.

    Args:
        model: name of bundled weights, or path to a checkpoint.

    Raises:
        ValueError: an unknown name, a file that is no sound checkpoint, or one of another config.
        OSError: there is no such file, or ONNX Runtime is not installed.

    """

    def __init__(self, model: str | Path) -> None:
        import_extra("onnxruntime")
        path, index = find(model), read_json(GRAPHS / "index.json")
        config = parse_json(read_metadata(path)["config"], f"{path}: its config")
        if config != index["config"]:
            raise ValueError(
                f"{path} holds another network than the default, which the lite engine does not run: "
                "pip install 'tweenlet[torch]'"
            )
        self.stride = 4 * config["intermediate"]["levels"][0]["scale"]
        weights, threads = _read_weights(path), _threads()
        self._sessions = {
            step: Session(GRAPHS / f"{step}.onnx", threads, {name: weights[name] for name in names})
            for step, names in index["weights"].items()
        }

    def features(self, frame: Array) -> Array:
        """Features (1, 3 + F, H/2, W/2) of a frame (1, 3, H, W)."""
        (features,) = self._run("features", frame=frame)
        return features

    def estimate(self, before: Array, after: Array, time: float) -> Array:
        """Motion estimate (1, 5 + context, h, w) of the coarse levels, from the features of two frames."""
        (estimate,) = self._run("estimate", before=before, after=after, time=_vector(time))
        return estimate

    def join(
        self, features: tuple[Array, Array], estimates: Sequence[Array], repeats: Sequence[bool], time: float
    ) -> Motion:
        """As :meth:`tweenlet.network.four_frames.FourFrameFlow.join`, for one window."""
        first, middle, last = estimates
        flags = np.array([repeats])
        estimate, acceleration = self._run(
            "join", before=features[0], first=first, own=middle, last=last, repeats=flags, time=_vector(time)
        )
        return Motion._make((*features, estimate, acceleration, flags))

    def finish(self, motion: Motion, time: float, shrink: int = 1) -> Estimate:
        """As :meth:`tweenlet.network.four_frames.FourFrameFlow.finish`; ``shrink`` is a power of two."""
        inputs = motion._asdict()
        repeats = inputs.pop("repeats")
        (finest,) = self._run("finest", time=_vector(time), **inputs)
        for _ in range(shrink.bit_length() - 1):
            (finest,) = self._run("double", finest=finest)
        return Estimate._make((finest, repeats))

    def show(self, frames: Array, motion: Estimate) -> Array:
        """The frame (1, 3, H, W) between the middle two of four (1, 4, 3, H, W)."""
        (frame,) = self._run("show", frames=frames, **motion._asdict())
        return frame

    def _run(self, step: str, **inputs: Any) -> list[Array]:
        contiguous = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        return self._sessions[step].run(contiguous)


def _vector(time: float) -> Array:
    return np.array([time], np.float32)


def _read_weights(path: Path) -> dict[str, Array]:
    """The tensors of a checkpoint as float32."""
    try:
        with safe_open(path, "numpy") as file:
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a valid safetensors file: {error}") from error
    return rename_from_format_1(tensors)


def _threads() -> int:
    """OMP_NUM_THREADS threads, or one per core available to this process."""
    with suppress(ValueError):
        return max(1, int(os.environ.get("OMP_NUM_THREADS", "")))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
