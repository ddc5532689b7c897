"""Reader: any source as a stream of frames, in constant memory.

::

    video file ─┐                     ┌ checks: damaged packets, a size that changes, an early end
    "-" (y4m) ──┼─> container ─ demux ┴─ decode ─┐
    folder ─────┤                                ├─> one frame held back ─> Frame(time, duration, picture)
    glob, list ─┴─> files ──────────────── decode ┘      (its duration is known when the next one comes)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self

import av

from tweenlet.video.frame import Colour, Frame, bits_of
from tweenlet.video.images import decode_image, is_image, list_images

IMAGE_RATE = Fraction(24)
"""Frames per second by which images are timed when no rate is given."""

Source = str | PathLike[str] | Sequence[str | PathLike[str]]


class Reader:
    """A stream of frames: a context manager, and an iterable that can be walked once.

    ``width`` and ``height`` are in pixels, ``rate`` is the average frames per second (None for images without
    one), ``frame_count`` an estimate or None, ``duration`` in seconds or None, ``bits`` per component (8, 10,
    12, 16), ``turns`` the quarter turns counter-clockwise by which the frames are to be shown, ``colour``
    their tags, ``name`` for messages, ``path`` the video file or image folder (None for a pipe), ``first``
    the first frame, ``stream`` the decoder's stream (None for images).
    Iterating raises ValueError where the source turns out damaged, cut short, or of a changing size.
    """

    def __init__(
        self,
        name: str,
        first: Frame,
        frames: Iterator[Frame],
        *,
        path: Path | None = None,
        rate: Fraction | None = None,
        frame_count: int | None = None,
        duration: Fraction | None = None,
        stream: av.VideoStream | None = None,
    ) -> None:
        self.name, self.path, self.first = name, path, first
        self.width, self.height = first.picture.width, first.picture.height
        self.bits = bits_of(first.picture.format)
        self.colour = Colour.of(first.picture)
        self.turns = round(first.picture.rotation / 90) % 4
        self.rate, self.frame_count, self.duration = rate, frame_count, duration
        self.stream = stream
        self._frames = frames

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """Let go of the file; the frames already taken stay valid."""
        if self.stream is not None:
            self.stream.container.close()


def read(source: Source, rate: Fraction | None = None) -> Reader:
    """Open a video file, a folder or glob of images, a list of image files, or ``"-"`` (y4m on stdin).

    Images are taken in natural order (2 before 10) and timed by ``rate`` (frames per second, else
    IMAGE_RATE); for a video ``rate`` is not used. Raises FileNotFoundError where there is nothing, ValueError
    for what is no video, has no video stream, has no frames, or is cut short.
    """
    if source == "-":
        if os.isatty(0):
            raise ValueError("standard input is a terminal: pipe a y4m stream into it")
        return _read_video("pipe:0", "standard input", None, "yuv4mpegpipe")
    if isinstance(source, (str, PathLike)):
        path = Path(source)
        if path.is_dir() or (not path.exists() and any(c in path.name for c in "*?[")):
            return _read_images(list_images(path), str(source), rate)
        if not path.exists():
            raise FileNotFoundError(f"no such file: {source}")
        if is_image(path):
            return _read_images([path], str(source), rate)
        return _read_video(str(path), str(source), path, None)
    return _read_images([Path(p) for p in source], "the list of images", rate)


def _read_images(paths: list[Path], name: str, rate: Fraction | None) -> Reader:
    if not paths:
        raise ValueError(f"{name} holds no images (PNG, JPEG, TIFF or WebP)")
    duration = 1 / (rate or IMAGE_RATE)

    def frames() -> Iterator[Frame]:
        for i, path in enumerate(paths):
            frame = first if i == 0 else Frame(i * duration, duration, decode_image(path), path)
            _same_size(frame.picture, first.picture, str(path), str(paths[0]))
            yield frame

    first = Frame(Fraction(0), duration, decode_image(paths[0]), paths[0])
    total = None if rate is None else len(paths) * duration
    folder = paths[0].parent
    return Reader(name, first, frames(), path=folder, rate=rate, frame_count=len(paths), duration=total)


def _read_video(url: str, name: str, path: Path | None, form: str | None) -> Reader:
    container = open_container(url, name, path, form)
    try:
        stream = _video_stream(container, name)
        stream.thread_type = "AUTO"
        promised = _promised(container, stream)
        frames = _timed(_decoded(container, stream, name), container, stream, promised, name)
        first = next(frames, None)
        if first is None:
            raise ValueError(f"{name} holds no frames that can be decoded")
    except BaseException:
        container.close()
        raise
    rate = _rate(stream) or 1 / first.duration
    count = stream.frames or (round(promised * rate) if promised else None)

    def checked() -> Iterator[Frame]:
        yield first
        for frame in frames:
            _same_size(
                frame.picture, first.picture, f"{name} at {float(frame.time):.2f} s", "its first frame"
            )
            yield frame

    return Reader(
        name, first, checked(), path=path, rate=rate, frame_count=count, duration=promised, stream=stream
    )


def open_container(url: str, name: str, path: Path | None, form: str | None) -> av.container.InputContainer:
    """Open what should be a video; ValueError or OSError with the reason in words where it is none."""
    try:
        container = av.open(url, "r", format=form, metadata_errors="replace")
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise system_error(error, f"cannot read {name}") from None
        raise ValueError(_why_unreadable(name, path)) from None
    if container.format.name == "tty":  # FFmpeg's player of text files
        container.close()
        raise ValueError(_why_unreadable(name, path))
    return container


def system_error(error: av.FFmpegError | OSError, what: str) -> OSError:
    """A failing disk or pipe, as FFmpeg or Python report it, as an OSError of one clear sentence."""
    known = isinstance(error, OSError) and error.errno
    kind = type(OSError(known, "")) if known else OSError  # FileNotFoundError, PermissionError ...
    plain = kind(f"{what}: {os.strerror(known) if known else error.strerror}")
    plain.errno = error.errno
    return plain


def start_of(container: av.container.InputContainer) -> Fraction:
    """The earliest timestamp of a file in seconds: what the frames and the sound are both counted from."""
    streams = [s for s in container.streams if s.type in ("video", "audio")]
    starts = (_seconds(s.start_time, s.time_base) for s in streams if s.start_time is not None)
    return min(starts, default=Fraction(0))


def _why_unreadable(name: str, path: Path | None) -> str:
    if path is None:
        return f"{name} is not a y4m stream (YUV4MPEG2)"
    with path.open("rb") as file:
        head = file.read(12)
    if not head:
        return f"{name} is an empty file"
    if head[4:8] == b"ftyp":
        return f"{name} is cut short: the index of this MP4 file (its moov box) is missing"
    return f"{name} is not a video file that can be read"


def _video_stream(container: av.container.InputContainer, name: str) -> av.VideoStream:
    cover = av.stream.Disposition.attached_pic
    streams = [
        s for s in container.streams.video if not s.disposition & cover and s.codec_context is not None
    ]
    if not streams:
        raise ValueError(f"{name} has no video stream")
    return streams[0]


def _decoded(
    container: av.container.InputContainer, stream: av.VideoStream, name: str
) -> Iterator[av.VideoFrame]:
    half = False
    try:
        for packet in container.demux(stream):
            half = packet.is_corrupt or (half and not packet.size)
            yield from packet.decode()
    except av.FFmpegError as error:
        raise ValueError(f"{name} is damaged: {error.strerror}") from None
    if half and container.format.name != "mpegts":  # recordings of broadcasts end anywhere
        raise ValueError(f"{name} is cut short: its last frame is incomplete")


def _timed(
    pictures: Iterator[av.VideoFrame],
    container: av.container.InputContainer,
    stream: av.VideoStream,
    promised: Fraction | None,
    name: str,
) -> Iterator[Frame]:
    """Frames with their times; the last is shown to the end that the file promises (MP4 knows the durations
    of pictures in the order of decoding only).
    """
    start = start_of(container)
    usual = 1 / (_rate(stream) or IMAGE_RATE)
    begin = Fraction(0)
    held: Frame | None = None
    for picture in pictures:
        time = Fraction(0) if held is None else held.time + held.duration
        if picture.pts is not None:
            time = _seconds(picture.pts, picture.time_base) - start
        if held is not None:
            if time <= held.time:
                time = held.time + usual
            yield Frame(held.time, time - held.time, held.picture)
        else:
            begin = time
        duration = _seconds(picture.duration, picture.time_base) or usual
        held = Frame(time, duration, picture)
    if held is None:
        return
    shown = held.time + held.duration - begin
    missing = max((promised or shown) - shown, Fraction(0))
    if missing > max((shown + missing) / 20, 4 * held.duration):
        raise ValueError(
            f"{name} is cut short: it promises {float(shown + missing):.2f} s of video, "
            f"but ends after {float(shown):.2f} s"
        )
    yield replace(held, duration=held.duration + missing)


def _rate(stream: av.VideoStream) -> Fraction | None:
    """Average frames per second; an estimate next to a usual rate (25, 30000/1001) is taken for it."""
    rate = stream.average_rate or stream.guessed_rate
    if not rate:
        return None
    usual = (Fraction(round(rate)), Fraction(round(rate * 1001 / 1000) * 1000, 1001))
    return next((u for u in usual if abs(u - rate) < rate / 10_000), rate)


def _promised(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction | None:
    """Seconds of video that the file says it holds, if it says."""
    if stream.duration:
        return _seconds(stream.duration, stream.time_base)
    with suppress(KeyError, ValueError):  # Matroska, as FFmpeg and mkvmerge write it
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    alone = all(s is stream or s.type not in ("audio", "subtitle") for s in container.streams)
    return Fraction(container.duration, av.time_base) if container.duration and alone else None


def _seconds(ticks: int, time_base: Fraction | None) -> Fraction:
    return ticks * (time_base or Fraction(0))


def _same_size(picture: av.VideoFrame, first: av.VideoFrame, name: str, first_name: str) -> None:
    if (picture.width, picture.height) != (first.width, first.height):
        raise ValueError(
            f"{name} is {picture.width}x{picture.height}, but {first_name} is {first.width}x{first.height}: "
            "all frames must be of one size"
        )
