"""Targets: what is timed, as text and as a function of four frames; and the frames to time it on."""

from __future__ import annotations

import ntpath
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.evaluation.baselines.command import command
from tweenlet.evaluation.baselines.function import function
from tweenlet.evaluation.baselines.method import Method
from tweenlet.evaluation.baselines.onnx import Onnx
from tweenlet.inference.engines import ENGINES
from tweenlet.inference.onnx import OnnxFile
from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.interpolation.lite import LiteInterpolator
from tweenlet.interpolation.pictures import Picture
from tweenlet.network.checkpoint import trained_network_of
from tweenlet.runtime.dtypes import dtype_of

TIMED = (*ENGINES, LiteInterpolator.engine, "auto")
"""Engines that may be timed."""
EXTERNAL = ("function", "command")
"""Engines of targets that are neither our networks nor ONNX files."""
CPU = torch.device("cpu")
EXTERNAL_FORMS = 'FILE.py:FUNCTION or "CMD {1} {2} {out}"'


@dataclass(frozen=True)
class Target:
    """Something to time.

    ``source`` is a network as for :func:`tweenlet.network.checkpoint.network_of`, an ONNX file, or a function
    or command as for :mod:`tweenlet.evaluation.baselines`, whose ``engine`` is "function" or "command".
    """

    source: str
    engine: str = "eager"
    dtype: str = "float32"

    def __str__(self) -> str:
        external = self.source.endswith(".onnx") or self.engine in EXTERNAL
        return self.source if external else f"{self.source}:{self.engine}:{self.dtype}"


def parse_targets(model: str, engines: Sequence[str], dtype: str = "float32") -> list[Target]:
    """Targets for a network with each engine, or for an ONNX file.

    Raises:
        ValueError: an engine or the dtype is unknown.

    """
    for name in engines:
        if name not in TIMED:
            raise ValueError(f"expected engines of {', '.join(TIMED)}; got {name!r}")
    dtype_of(dtype)
    if model.endswith(".onnx"):
        return [parse_target(model)]
    return [Target(model, engine, dtype) for engine in engines]


def parse_target(text: str, dtype: str = "float32") -> Target:
    """Parse MODEL, MODEL:ENGINE, MODEL:ENGINE:DTYPE, FILE.onnx, FILE.py:FUNCTION or a command.

    Raises:
        ValueError: the text has another form, or the engine is unknown.

    """
    if text.endswith(".onnx"):
        return Target(text, "onnxruntime")
    if "{out}" in text:
        return Target(text, "command")
    if re.fullmatch(r".+\.py:[\w.]+", text):
        return Target(text, "function")
    drive, path = ntpath.splitdrive(text) if sys.platform == "win32" else ("", text)
    source, engine, kind = ([*path.split(":"), "", ""])[:3]
    if path.count(":") > 2 or (engine and engine not in TIMED) or not source:
        raise ValueError(
            f"expected MODEL, MODEL:ENGINE, MODEL:ENGINE:DTYPE, FILE.onnx, {EXTERNAL_FORMS}, got {text!r}"
        )
    return Target(drive + source, engine or "eager", kind or dtype)


def make_interpolate(target: Target, device: torch.device = CPU) -> Callable[[list[Tensor]], Tensor]:
    """Load a target as a function of four frames (3, H, W) that returns the middle frame.

    Raises:
        ValueError, OSError: the target cannot be loaded.

    """
    dtype = dtype_of(target.dtype)
    if target.source.endswith(".onnx"):
        try:
            return Stream(Interpolator(OnnxFile(target.source)))
        except ValueError:
            external: Method = Onnx(target.source)
            return lambda frames: external(torch.stack(frames))
    if target.engine in EXTERNAL:
        baseline = (function if target.engine == "function" else command)(target.source)
        return lambda frames: baseline(torch.stack(frames).cpu())
    if target.engine == LiteInterpolator.engine:
        stream = Stream(cast(Interpolator, LiteInterpolator(target.source)))  # the same, with arrays
        return lambda frames: torch.from_numpy(stream([frame.numpy() for frame in frames]))
    with torch.random.fork_rng(devices=()):  # untrained networks get the same weights every time
        torch.manual_seed(0)
        model = trained_network_of(target.source)
    return Stream(Interpolator(model, device=device, engine=target.engine, dtype=dtype))


class Stream:
    """Runs consecutive windows of a stream; motion estimated in one window is reused in the next."""

    def __init__(self, interpolator: Interpolator) -> None:
        self.interpolator, self.motion = interpolator, interpolator.motion_cache()
        self.windows = 0
        """Windows so far, including the current one."""

    def __call__(self, frames: list[Picture]) -> Picture:
        """Interpolate the next window of four frames (3, H, W), three of which were in the previous one."""
        numbers = range(self.windows, self.windows + 4)
        self.windows += 1
        motion = None if self.motion is None else self.motion.window(frames, numbers)
        return self.interpolator.between(frames, motion=motion)


def moving_picture(size: tuple[int, int], count: int) -> list[Tensor]:
    """Generate ``count`` frames (3, H, W) in [0, 1] of a soft texture that moves (4, 2) pixels per frame."""
    width, height = size
    noise = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=torch.Generator().manual_seed(0))
    picture = F.interpolate(noise, size=(height, width), mode="bicubic", align_corners=False)[0].clamp(0, 1)
    return [picture.roll((2 * k, 4 * k), (1, 2)).contiguous() for k in range(count)]
