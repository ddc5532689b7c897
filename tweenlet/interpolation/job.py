"""Job: what one call of :func:`~tweenlet.interpolation.video.interpolate_video` asks for, as a value.

This machine, and another that it is sent to, read and write by the same few steps:

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
    """The arguments of :func:`~tweenlet.interpolation.video.interpolate_video`, which says what each is."""

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
    encoding: video.Encoding | None
    deinterlace: bool
    stream: int | None
    strict: bool
    resume: bool

    @cached_property
    def timing(self) -> OutputTiming:
        """The times of the output's frames; ValueError for what excludes each other."""
        return OutputTiming(
            self.factor, self.fps, self.slow, self.max_recursion, self.speed, self.keep_frames, self.shutter,
            remake=bool(self.remake),
        )  # fmt: skip

    @cached_property
    def remake(self) -> frozenset[int]:
        """Numbers of the frames that are to be made anew."""
        return parse_numbers(self.replace) if self.replace else frozenset()

    @property
    def clip(self) -> Clip:
        """The part of the source that is wanted."""
        return Clip(parse_time(self.start), None if self.end is None else parse_time(self.end))

    def read(self, clip: Clip | None = None) -> video.Reader:
        """Open the source, or with ``clip`` another part of it than the one that is wanted."""
        rate = None if self.rate is None else exact_rate(self.rate)
        return video.read(
            self.src, rate, stream=self.stream, strict=self.strict, clip=clip or self.clip,
            deinterlace=self.deinterlace,
        )  # fmt: skip

    def frames(
        self, reader: video.Reader, copier: DeviceCopier, first_number: int = 0
    ) -> Iterator[SourceFrame[Frame]]:
        """The frames of a reader of the source, the first of which has this number, for a timeline."""
        alpha = video.keeps_alpha(self.dst, reader, self.encoding)
        return stream_frames(reader, copier, self.remake, self.loop, alpha, first_number)

    @property
    def place(self) -> torch.device | None:
        """The device that it runs on; None where pictures are arrays."""
        return load_device(self.engine, self.device)

    def load_network(self) -> Interpolator | LiteInterpolator:
        """What makes the frames between."""
        return load_interpolator(self.model, self.device, self.dtype, self.engine, self.tile)

    @property
    def files(self) -> list[Path]:
        """The files that it reads; none if it reads something else, such as a pipe or a network in memory."""
        files = self._sources
        if not isinstance(self.model, (str, Path)) or not all(file.is_file() for file in files):
            return []
        return [*files, Path(self.model)] if Path(self.model).is_file() else files

    @property
    def _sources(self) -> list[Path]:
        return [Path(p) for p in ([self.src] if isinstance(self.src, (str, Path)) else self.src)]

    def absolute(self) -> Job:
        """The same, of files by their whole paths, for a process that runs in another folder."""
        sources: list[str | Path] = [path.resolve() for path in self._sources]
        model = self.model
        if isinstance(model, (str, Path)) and Path(model).is_file():
            model = Path(model).resolve()
        is_single = isinstance(self.src, (str, Path))
        return replace(self, src=sources[0] if is_single else sources, model=model)

    @property
    def identity(self) -> str:
        """All that decides what it writes; empty if that is not known, or if it is not to be resumed."""
        if not (self.resume and self.files):
            return ""
        asked = {field.name: str(getattr(self, field.name)) for field in fields(self)}
        return f"{asked} {states(self.files)} {versions(self.engine)}"


def states(files: Sequence[Path]) -> list[tuple[str, int, int]]:
    """By file: its whole path, bytes, and when it was changed; OSError for one that is missing."""
    return [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def versions(engine: str = "eager") -> list[str]:
    """Of what decides the values of a frame: of tweenlet, torch (lite: ONNX Runtime) and PyAV."""
    return [version(name) for name in ("tweenlet", "onnxruntime" if engine == LITE else "torch", "av")]


def for_source(
    network: Interpolator | LiteInterpolator, reader: video.Reader
) -> Interpolator | LiteInterpolator | ChannelGroups:
    """A network as a timeline takes it: that of a source with opacity has a fourth channel to see to."""
    return ChannelGroups(network) if reader.is_transparent else network


class Sink(Protocol):
    """What takes pictures: a writer, or an encoder without a file."""

    def write(self, picture: Picture, time: Fraction, duration: Fraction, between: Any = None) -> None:
        """Add a picture, as :meth:`tweenlet.video.writer.Writer.write` does."""


@dataclass(frozen=True)
class Ready:
    """A frame to be written, and the copy of its picture if it was made."""

    frame: OutputFrame[Frame]
    copy: HostCopy | None

    @classmethod
    def of(cls, frame: OutputFrame[Frame], copier: DeviceCopier) -> Ready:
        """A frame, the copy of whose picture is begun."""
        return cls(frame, copier.to_host(frame.picture) if frame.source is None else None)

    def write(self, sink: Sink) -> None:
        """Hand it on, when it has arrived."""
        frame = self.frame
        before, after = (source.original for source in frame.between)
        if self.copy is None:
            sink.write(before, frame.time, frame.duration)
        else:
            between = None if frame.blurred else (before, after)
            sink.write(self.copy.wait(), frame.time, frame.duration, between)
