"""Job: the arguments of one call of :func:`~tweenlet.interpolation.video.interpolate_video`, as a value.

This machine and the workers it is sent to read and write by the same few steps:

    Job.read ──> Reader ── Job.frames ──> SourceFrame ... ──> OutputFrame ── Ready.write ──> writer, encoder
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tweenlet import video
from tweenlet.interpolation.channels import ChannelGroups
from tweenlet.interpolation.frame_stream import parse_numbers, stream_frames
from tweenlet.interpolation.keyframes import SourceFrame
from tweenlet.interpolation.load import LITE, load_device, load_interpolator
from tweenlet.interpolation.prefetch import DeviceCopier, HostCopy
from tweenlet.interpolation.timeline import OutputFrame
from tweenlet.interpolation.timing import OutputTiming, Rate, exact_rate
from tweenlet.video.container import Clip
from tweenlet.video.frame import Frame
from tweenlet.video.retiming import TimeMap, parse_time
from tweenlet.video.writer import Picture

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tweenlet.interpolation.interpolator import Interpolator
    from tweenlet.interpolation.lite import LiteInterpolator


@dataclass(frozen=True)
class Job:
    """The arguments of :func:`~tweenlet.interpolation.video.interpolate_video`, documented there."""

    src: str | Path | Sequence[str | Path]
    dst: str | Path
    factor: int | None
    fps: Rate | None
    slow: Rate | None
    speed: str | TimeMap | None
    start: Fraction | float | str
    end: Fraction | float | str | None
    keep_frames: bool
    loop: bool
    shutter: float
    replace: str
    max_recursion: int
    model: str | Path | nn.Module
    device: str | torch.device | None
    dtype: str | torch.dtype
    engine: str
    rate: Rate | None
    cuts: bool
    repeats: str
    longest_run: int
    tile: int | str | None
    flow_scale: float | str
    encoding: video.Encoding | None
    deinterlace: bool
    stream: int | None
    strict: bool
    resume: bool

    @cached_property
    def timing(self) -> OutputTiming:
        """Output times; ValueError for options that exclude each other."""
        return OutputTiming(
            self.factor, self.fps, self.slow, self.max_recursion, self.speed, self.keep_frames, self.shutter,
            remake=bool(self.remake),
        )  # fmt: skip

    @cached_property
    def remake(self) -> frozenset[int]:
        """Numbers of the frames to remake."""
        return parse_numbers(self.replace) if self.replace else frozenset()

    @property
    def clip(self) -> Clip:
        """The part of the source to interpolate."""
        return Clip(parse_time(self.start), None if self.end is None else parse_time(self.end))

    def read(self, clip: Clip | None = None) -> video.Reader:
        """Open the source, or with ``clip`` another part of it."""
        rate = None if self.rate is None else exact_rate(self.rate)
        return video.read(
            self.src, rate, stream=self.stream, strict=self.strict, clip=clip or self.clip,
            deinterlace=self.deinterlace,
        )  # fmt: skip

    def rates(self, reader: video.Reader) -> tuple[Fraction, Fraction]:
        """Average frames per second of the source, and frames per second of the output."""
        rate = reader.rate or video.IMAGE_RATE
        return rate, self.timing.output_rate(rate)

    def frames(
        self, reader: video.Reader, copier: DeviceCopier, first_number: int = 0
    ) -> Iterator[SourceFrame[Frame]]:
        """A reader's frames as source frames of a timeline, numbered from ``first_number``."""
        alpha = video.keeps_alpha(self.dst, reader, self.encoding)
        return stream_frames(reader, copier, self.remake, self.loop, alpha, first_number)

    @property
    def place(self) -> torch.device | None:
        """The device that the network runs on; None where pictures are arrays."""
        return load_device(self.engine, self.device)

    def load_network(self) -> Interpolator | LiteInterpolator:
        """Load the network that predicts frames."""
        return load_interpolator(self.model, self.device, self.dtype, self.engine, self.tile, self.flow_scale)

    @property
    def files(self) -> list[Path]:
        """The files that the job reads; empty if it also reads a pipe or uses a network in memory."""
        files = self._sources
        if not isinstance(self.model, (str, Path)) or not all(file.is_file() for file in files):
            return []
        return [*files, Path(self.model)] if Path(self.model).is_file() else files

    @property
    def _sources(self) -> list[Path]:
        return [Path(p) for p in ([self.src] if isinstance(self.src, (str, Path)) else self.src)]

    def absolute(self) -> Job:
        """The same job with absolute paths, for a process in another working directory."""
        sources: list[str | Path] = [path.resolve() for path in self._sources]
        model = self.model
        if isinstance(model, (str, Path)) and Path(model).is_file():
            model = Path(model).resolve()
        is_single = isinstance(self.src, (str, Path))
        return replace(self, src=sources[0] if is_single else sources, model=model)

    @property
    def identity(self) -> str:
        """Everything that determines the output; empty if unknown, or if the job is not to be resumed."""
        if not (self.resume and self.files):
            return ""
        asked = {field.name: str(getattr(self, field.name)) for field in fields(self)}
        asked["speed"] = str(self.timing.time_map)  # what a file of points says, not its name
        return f"{asked} {states(self.files)} {versions(self.engine)}"


def states(files: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Absolute path, size in bytes and modification time of each file; OSError for a missing one."""
    return [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def versions(engine: str = "eager") -> list[str]:
    """Versions of the packages that determine pixel values: tweenlet, torch (lite: ONNX Runtime) and PyAV."""
    return [version(name) for name in ("tweenlet", "onnxruntime" if engine == LITE else "torch", "av")]


def for_source(
    network: Interpolator | LiteInterpolator, reader: video.Reader
) -> Interpolator | LiteInterpolator | ChannelGroups:
    """Wrap a network for a source: opacity is a fourth channel."""
    return ChannelGroups(network) if reader.is_transparent else network


class Sink(Protocol):
    """Takes pictures: a writer, or an encoder without a file."""

    def write(self, picture: Picture, time: Fraction, duration: Fraction, between: Any = None) -> None:
        """Write a picture, as :meth:`tweenlet.video.writer.Writer.write` does."""


@dataclass(frozen=True)
class Ready:
    """A frame to write, and the pending copy of its picture if a network made it."""

    frame: OutputFrame[Frame]
    copy: HostCopy | None

    @classmethod
    def of(cls, frame: OutputFrame[Frame], copier: DeviceCopier) -> Ready:
        """Start to copy the picture of a frame to the host."""
        return cls(frame, copier.to_host(frame.picture) if frame.source is None else None)

    def write(self, sink: Sink) -> None:
        """Write the frame, once its picture has arrived."""
        frame = self.frame
        before, after = (source.original for source in frame.between)
        if self.copy is None:
            sink.write(before, frame.time, frame.duration)
        else:
            between = None if frame.blurred else (before, after)
            sink.write(self.copy.wait(), frame.time, frame.duration, between)
