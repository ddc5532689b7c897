"""Containers: where a source lies, opening it, and which of its streams is meant.

::

    a name ── exists? ──> "file:" + name      (a colon, "%", "[" or "http:" in it mean nothing)
           └─ scheme://... ──> as it is
           └─ "-", FIFO ──> read once, in order

Playlists (HLS, DASH, ffconcat ...) name other files or hosts. They are followed where a person writes a URL,
https://... or file://..., and refused else.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from tweenlet.video.truncation import is_truncated, is_truncated_stream

_PLAYLISTS = ("hls", "dash", "concat", "imf", "sdp", "rtsp", "rtp", "sap", "lavfi", "image2", "ffmetadata")
_HEAD = 4096  # bytes of a pipe, in which the header of a stream lies
_SEEK_MARGIN = 2
"""Seconds before what is wanted, from where a file is read."""
_NOT_FILM = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails


@dataclass
class Pipe:
    """A pipe for FFmpeg to read, which remembers how much came through it, and how that began."""

    source: int | Path
    head: bytes = b""
    size: int = 0
    _handle: int | None = None

    def read(self, size: int) -> bytes:
        """The next bytes, up to so many; none at the end."""
        if self._handle is None:
            flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
            self._handle = self.source if isinstance(self.source, int) else os.open(self.source, flags)
        data = os.read(self._handle, size)
        self.head += data[: _HEAD - len(self.head)]
        self.size += len(data)
        return data

    def __del__(self) -> None:
        if self._handle is not None and self._handle != self.source:
            os.close(self._handle)


@dataclass(frozen=True)
class Location:
    """Where a video lies: how FFmpeg is to open it, and how people call it.

    ``path`` is None for a URL, and for a pipe, which can be opened only once.
    """

    url: str
    name: str
    path: Path | None = None
    pipe: Pipe | None = field(default=None, compare=False)

    @property
    def is_url(self) -> bool:
        """Whether it lies elsewhere."""
        return self.path is None and self.pipe is None

    def is_truncated(self) -> bool:
        """Whether bytes are missing at the end, once all has been read; False where nothing tells."""
        if self.pipe is not None:
            return is_truncated_stream(self.pipe.head, self.pipe.size)
        return self.path is not None and is_truncated(self.path)


@dataclass(frozen=True)
class Clip:
    """The part of a source that is wanted, in seconds as those of frames."""

    start: Fraction = Fraction(0)
    """Frames that begin earlier are left out, and times are counted from the first that is not."""
    end: Fraction | None = None
    """Frames that begin at it or later are left out."""

    def __post_init__(self) -> None:
        if self.start < 0 or (self.end is not None and self.end <= self.start):
            end = None if self.end is None else float(self.end)
            raise ValueError(
                f"expected a part that begins before it ends, got {float(self.start):g} to {end:g}"
            )

    @property
    def length(self) -> Fraction | None:
        """Seconds; None up to the end of the source."""
        return None if self.end is None else self.end - self.start

    def seek(self, container: InputContainer, stream: av.VideoStream | None) -> bool:
        """Go to a key frame well before the start, where the kind of file has an index; whether it did."""
        start = self.start - _SEEK_MARGIN
        if start <= 0 or not container.format.name.startswith(("mov", "matroska")):
            return False
        base = Fraction(1, av.time_base) if stream is None else stream.time_base or Fraction(1)
        try:
            container.seek(int((start + start_of(container)) / base), stream=stream)
        except av.FFmpegError:
            return False
        return True


WHOLE = Clip()


def is_url(name: str) -> bool:
    """Whether a name is written as scheme://... and is no file."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name) is not None and not Path(name).exists()


def locate(source: str | os.PathLike[str]) -> Location:
    """The place that a name of a video means: a URL, "-" (standard input), a file or a FIFO.

    Raises FileNotFoundError where there is nothing, ValueError for a terminal or another device.
    """
    name = os.fspath(source)
    if name == "-":
        if os.isatty(0):
            raise ValueError("standard input is a terminal: pipe a video into it, such as y4m")
        return Location(name, "standard input", pipe=Pipe(0))
    if is_url(name):
        return Location(name, name)
    path = Path(name)
    if not path.exists():
        raise FileNotFoundError(f"no such file: {name}")
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return Location(f"file:{path}", name, path)
    if stat.S_ISFIFO(mode) or (stat.S_ISSOCK(mode) and name in ("/dev/stdin", "/dev/fd/0")):
        return Location(name, name, pipe=Pipe(0 if stat.S_ISSOCK(mode) else path))
    raise ValueError(f"{name} is a device, not a file: expected a video, or a pipe that one comes through")


def open_container(location: Location) -> InputContainer:
    """Open what should be a video; ValueError or OSError with the reason in words where it is none."""
    options = {} if location.is_url else {"format_whitelist": _readable_formats()}
    try:
        source: Any = location.pipe or location.url
        container: InputContainer = av.open(source, "r", options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, av.ArgumentError):
            raise system_error(error, f"cannot read {location.name}") from None
        raise ValueError(_explain_unreadable(location)) from None
    if container.format.name == "tty":  # FFmpeg's player of text files
        container.close()
        raise ValueError(_explain_unreadable(location))
    return container


def system_error(error: av.FFmpegError | OSError, action: str) -> OSError:
    """A failing disk or pipe, as FFmpeg or Python report it, as an OSError of one clear sentence."""
    number = isinstance(error, OSError) and error.errno
    kind = type(OSError(number, "")) if number else OSError  # FileNotFoundError, PermissionError ...
    plain = kind(f"{action}: {os.strerror(number) if number else error.strerror}")
    plain.errno = error.errno
    return plain


def start_of(container: InputContainer) -> Fraction:
    """The earliest timestamp of a file in seconds: what the frames and the sound are both counted from."""
    streams = [s for s in container.streams if s.type in ("video", "audio")]
    starts = (s.start_time * (s.time_base or Fraction(0)) for s in streams if s.start_time is not None)
    return min(starts, default=Fraction(0))


def film_candidates(container: InputContainer, name: str, index: int | None = None) -> list[av.VideoStream]:
    """The video streams of a file that may be its film, the likeliest first: those marked as default, the
    larger first, then the others. Covers and thumbnails that are marked as such are none.

    ``index``: the one stream that is asked for, as counted among all streams of the file (ffprobe's count).
    Raises ValueError where there is none, or not this one.
    """
    streams = [s for s in container.streams.video if s.codec_context is not None]
    if index is not None:
        selected = [s for s in streams if s.index == index]
        if not selected:
            indices = ", ".join(str(s.index) for s in streams) or "none"
            raise ValueError(f"{name} has no video stream {index}: its video streams are {indices}")
        return selected
    films = [s for s in streams if not s.disposition & _NOT_FILM]
    if not films:
        raise ValueError(f"{name} has no video stream")
    default = av.stream.Disposition.default
    return sorted(films, key=lambda s: (not s.disposition & default, -s.width * s.height, s.index))


@cache
def _readable_formats() -> str:
    """The kinds of files that are read, in FFmpeg's names: all that hold their pictures themselves."""
    names = (name for name in av.formats_available if not set(name.split(",")) & set(_PLAYLISTS))
    return ",".join(names)


def _explain_unreadable(location: Location) -> str:
    name = location.name
    if location.is_url:
        return f"{name} is not a video that can be read"
    if location.path is None:
        return (
            f"{name} is not a video that can be read in one pass, "
            "such as a y4m stream (YUV4MPEG2), Matroska or MPEG-TS"
        )
    with location.path.open("rb") as file:
        head = file.read(512)
    if not head:
        return f"{name} is an empty file"
    if head[4:8] == b"ftyp":
        return f"{name} is cut short: the index of this MP4 file (its moov box) is missing"
    if head.lstrip(b"\xef\xbb\xbf \r\n").startswith((b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0")):
        return f"{name} is a playlist, which names other files: to have it followed, write file://{location.path.resolve()}"
    return f"{name} is not a video file that can be read"
