"""Containers: locate and open a source, and choose its video stream.

::

    a name ── exists? ──> "file:" + name      (a colon, "%", "[" or "http:" in it mean nothing)
           └─ scheme://... ──> as it is
           └─ "-", FIFO ──> read once, in order

Playlists (HLS, DASH, ffconcat, ...) refer to other files or hosts. They are followed only if the source is a
URL, https://... or file://....
"""

from __future__ import annotations

import codecs
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
_HEAD = 4096  # first bytes of a pipe, which contain the header
_IMAGES = re.compile(rb"\x89PNG|\xff\xd8\xff|RIFF....WEBP", re.DOTALL)  # first bytes of PNG, JPEG and WebP
_SIGNATURE = 12
"""Bytes that tell whether a pipe begins with an image."""
_SEEK_MARGIN = 2
"""Seconds before the start of a clip at which reading begins."""
_NOT_FILM = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails


@dataclass
class Pipe:
    """A pipe for FFmpeg to read, which counts the bytes and keeps the first of them."""

    source: int | Path
    head: bytes = b""
    size: int = 0
    _handle: int | None = None
    _peeked: bytes = b""

    def holds_images(self) -> bool:
        """Whether the pipe, of which nothing has been read yet, begins with an image."""
        while len(self._peeked) < _SIGNATURE and (data := self._read(_HEAD)):
            self._peeked += data
        return _IMAGES.match(self._peeked) is not None

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes; none at the end."""
        data = self._peeked[:size] or self._read(size)
        self._peeked = self._peeked[size:]
        return data

    def _read(self, size: int) -> bytes:
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
    """Location of a video: how FFmpeg opens it, and its name in messages.

    ``path`` is None for a URL, and for a pipe, which can be opened only once.
    """

    url: str
    name: str
    path: Path | None = None
    pipe: Pipe | None = field(default=None, compare=False)

    @property
    def is_url(self) -> bool:
        """Whether it is a URL."""
        return self.path is None and self.pipe is None

    def is_truncated(self) -> bool:
        """Whether bytes are missing at the end, after reading everything; False if unknown."""
        if self.pipe is not None:
            return is_truncated_stream(self.pipe.head, self.pipe.size)
        return self.path is not None and is_truncated(self.path)


@dataclass(frozen=True)
class Clip:
    """A part of a source, in seconds of frame time."""

    start: Fraction = Fraction(0)
    """Earlier frames are left out, and times count from the first one left."""
    end: Fraction | None = None
    """Frames from this time on are left out."""

    def __post_init__(self) -> None:
        if self.start < 0 or (self.end is not None and self.end <= self.start):
            end = None if self.end is None else float(self.end)
            raise ValueError(
                f"expected a part that begins before it ends, got {float(self.start):g} to {end:g}"
            )

    @property
    def length(self) -> Fraction | None:
        """Length in seconds; None = up to the end of the source."""
        return None if self.end is None else self.end - self.start

    def seek(self, container: InputContainer, stream: av.VideoStream | None) -> bool:
        """Seek to a key frame well before the start if the container has an index; returns whether it did."""
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


_OLD_TEXT = "tweenlet.windows-1252"


def _decode_old_text(error: UnicodeError) -> tuple[str, int]:
    """Decode what is not UTF-8 in tags as Windows-1252, as old programs wrote it."""
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error(_OLD_TEXT, _decode_old_text)


def is_url(name: str) -> bool:
    """Whether a name has the form scheme://... and is no file."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name) is not None and not Path(name).exists()


def locate(source: str | os.PathLike[str]) -> Location:
    """Locate a video by name: a URL, "-" (standard input), a file or a FIFO.

    Raises FileNotFoundError if it does not exist, ValueError for a terminal or other device.
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


def open_container(location: Location, image_rate: Fraction | None = None) -> InputContainer:
    """Open a video; ValueError or OSError, with the reason, if it is none.

    ``image_rate``: frames per second if the location is a pipe of images.
    """
    options = {} if location.is_url else {"format_whitelist": _readable_formats()}
    try:
        if image_rate is not None and location.pipe is not None and location.pipe.holds_images():
            options["framerate"] = str(image_rate)
        source: Any = location.pipe or location.url
        container: InputContainer = av.open(source, "r", options=options, metadata_errors=_OLD_TEXT)
    except (av.FFmpegError, OSError) as error:
        if isinstance(error, OSError | av.HTTPError) and not isinstance(error, av.ArgumentError):
            raise system_error(error, f"cannot read {location.name}") from None
        raise ValueError(_explain_unreadable(location)) from None
    if container.format.name == "tty":  # FFmpeg's renderer of text files
        container.close()
        raise ValueError(_explain_unreadable(location))
    return container


def system_error(error: av.FFmpegError | OSError, action: str) -> OSError:
    """Convert an error of FFmpeg or Python about a disk or pipe to an OSError of one sentence."""
    number = isinstance(error, OSError) and error.errno
    kind = type(OSError(number, "")) if number else OSError  # FileNotFoundError, PermissionError ...
    plain = kind(f"{action}: {os.strerror(number) if number else error.strerror}")
    plain.errno = error.errno
    return plain


def start_of(container: InputContainer) -> Fraction:
    """The earliest timestamp of a file, in seconds: the origin of frame and sound times."""
    streams = [s for s in container.streams if s.type in ("video", "audio")]
    starts = (s.start_time * (s.time_base or Fraction(0)) for s in streams if s.start_time is not None)
    return min(starts, default=Fraction(0))


def film_candidates(container: InputContainer, name: str, index: int | None = None) -> list[av.VideoStream]:
    """Candidate video streams of a file, most likely first: default streams by size, then the others. Covers
    and thumbnails marked as such are left out.

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
    """FFmpeg's names of the containers to read: all that are self-contained."""
    names = (name for name in av.formats_available if not set(name.split(",")) & set(_PLAYLISTS))
    return ",".join(names)


def _explain_unreadable(location: Location) -> str:
    name = location.name
    if location.is_url:
        return f"{name} is not a video that can be read"
    if location.pipe is not None and not location.pipe.size:
        return f"{name} is empty"
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
