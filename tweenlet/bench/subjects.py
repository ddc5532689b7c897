"""Subjects: what is timed, as it is typed and as a function of four frames; and what it is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
from tweenlet.network.checkpoint import network_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FOREIGN = ("function", "command")
"""Engines of what is no network of ours, besides ONNX files."""
CPU = torch.device("cpu")
PEERS = 'FILE.py:FUNCTION or "CMD {1} {2} {out}"'


@dataclass(frozen=True)
class Subject:
    """What is timed: a network as :func:`tweenlet.network.checkpoint.network_of` takes it, or an ONNX file.

    Or a function or command as :mod:`tweenlet.evaluation.baselines` takes them: the ``engine`` then.
    """

    source: str
    engine: str = "eager"
    dtype: str = "float32"

    def __str__(self) -> str:
        foreign = self.source.endswith(".onnx") or self.engine in FOREIGN
        return self.source if foreign else f"{self.source}:{self.engine}:{self.dtype}"


def subjects_of(model: str, engines: Sequence[str], dtype: str = "float32") -> list[Subject]:
    """A network by each engine, or an ONNX file. ValueError for an unknown engine or dtype."""
    for name in engines:
        if name not in (*ENGINES, "auto"):
            raise ValueError(f"expected engines of {', '.join((*ENGINES, 'auto'))}; got {name!r}")
    if dtype not in DTYPES:
        raise ValueError(f"expected a dtype of {', '.join(DTYPES)}, got {dtype!r}")
    if model.endswith(".onnx"):
        return [subject_of(model)]
    return [Subject(model, engine, dtype) for engine in engines]


def subject_of(text: str, dtype: str = "float32") -> Subject:
    """MODEL, MODEL:ENGINE, MODEL:ENGINE:DTYPE, FILE.onnx, FILE.py:FUNCTION or a command, as a subject."""
    if text.endswith(".onnx"):
        return Subject(text, "onnxruntime")
    if "{out}" in text:
        return Subject(text, "command")
    if re.fullmatch(r".+\.py:[\w.]+", text):
        return Subject(text, "function")
    source, engine, kind = ([*text.split(":"), "", ""])[:3]
    if text.count(":") > 2 or (engine and engine not in (*ENGINES, "auto")) or not source:
        raise ValueError(
            f"expected MODEL, MODEL:ENGINE, MODEL:ENGINE:DTYPE, FILE.onnx, {PEERS}, got {text!r}"
        )
    return Subject(source, engine or "eager", kind or dtype)


def maker(subject: Subject, device: torch.device = CPU) -> Callable[[list[Tensor]], Tensor]:
    """Four frames -> the one in their middle."""
    if subject.dtype not in DTYPES:
        raise ValueError(f"expected a dtype of {', '.join(DTYPES)}, got {subject.dtype}")
    if subject.source.endswith(".onnx"):
        try:
            return Stream(Interpolator(OnnxFile(subject.source)))
        except ValueError:
            foreign: Method = Onnx(subject.source)
            return lambda frames: foreign(torch.stack(frames))
    if subject.engine in FOREIGN:
        peer = (function if subject.engine == "function" else command)(subject.source)
        return lambda frames: peer(torch.stack(frames).cpu())
    with torch.random.fork_rng(devices=()):  # a network fresh from its config: the same one every time
        torch.manual_seed(0)
        model = network_of(subject.source)
    return Stream(Interpolator(model, device=device, engine=subject.engine, dtype=DTYPES[subject.dtype]))


class Stream:
    """The windows of a stream one after the other: motion that one has found is known to the next."""

    def __init__(self, interpolator: Interpolator) -> None:
        self.interpolator, self.flows = interpolator, interpolator.flow_cache()
        self.windows = 0
        """Windows so far, the one at hand included."""

    def __call__(self, frames: list[Tensor]) -> Tensor:
        """Four frames, the last three of them those that came before -> the one in their middle."""
        numbers = range(self.windows, self.windows + 4)
        self.windows += 1
        motion = None if self.flows is None else self.flows.window(frames, numbers)
        return self.interpolator.between(frames, motion=motion)


def moving_picture(size: tuple[int, int], count: int) -> list[Tensor]:
    """``count`` frames (3, H, W) in [0, 1] of a soft texture that moves (4, 2) pixels from frame to frame."""
    width, height = size
    noise = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=torch.Generator().manual_seed(0))
    picture = F.interpolate(noise, size=(height, width), mode="bicubic", align_corners=False)[0].clamp(0, 1)
    return [picture.roll((2 * k, 4 * k), (1, 2)).contiguous() for k in range(count)]
