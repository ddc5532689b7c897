"""Headers: crop and pixel shape, which PyAV cannot pass to a muxer, written into a finished file.

::

    Matroska  TrackEntry ─┬─ Name    a placeholder ── gives its bytes to ─┐
                          └─ Video   size <── shape, crop ────────────────┘
    MP4, MOV  trak ─ mdia ─┬─ hdlr   a placeholder ── gives its bytes to ─┐
                           └─ minf ─ stbl ─ stsd ─ entry <── clap ────────┘
    y4m       YUV4MPEG2 W64 H48 F25:1 Ip A0:0 ── A16:11

Nothing after the change moves, so that indices in the file stay valid.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tweenlet.video.colour import Colour

PLACEHOLDER = "VideoHandler" + 40 * "."
"""Start of the picture stream's name until its header is completed, to reserve space; in MP4 the dots become
a clap box."""
_HEAD = 1 << 20
_SEGMENT, _TRACKS, _ENTRY, _VIDEO, _NAME, _VOID = (
    bytes.fromhex(code) for code in ("18538067", "1654AE6B", "AE", "E0", "536E", "EC")
)
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT, _CROP_RIGHT, _CROP_BOTTOM = (
    bytes.fromhex(code) for code in ("54B0", "54BA", "54B2", "54DD", "54AA")
)


@dataclass(frozen=True)
class Shape:
    """Displayed shape of a picture: size without padding, and pixel aspect ratio."""

    width: int = 0
    height: int = 0
    right: int = 0
    """Columns to hide at the right."""
    bottom: int = 0
    """Rows to hide at the bottom."""
    aspect: Fraction = Fraction(1)
    """Width of a pixel divided by its height."""

    @property
    def is_plain(self) -> bool:
        """Whether nothing is hidden and pixels are square."""
        return not (self.right or self.bottom) and self.aspect == 1


def pad_to_shape(picture: av.VideoFrame, shape: Shape) -> av.VideoFrame:
    """Pad a planar picture to a shape by repeating the last column and row, in luma only: subsampled chroma
    is large enough.
    """
    if not shape.right and not shape.bottom:
        return picture
    target = av.VideoFrame(shape.width + shape.right, shape.height + shape.bottom, picture.format.name)
    depth = np.uint8 if picture.format.components[0].bits == 8 else np.uint16
    for source, plane in zip(picture.planes, target.planes, strict=True):
        before, after = (
            np.frombuffer(memoryview(p), depth).reshape(-1, p.line_size // depth().itemsize)[
                : p.height, : p.width
            ]
            for p in (source, plane)
        )
        more = ((0, plane.height - source.height), (0, plane.width - source.width))
        after[:] = np.pad(before, more, mode="edge")
    Colour.of(picture).stamp(target)
    return target


def complete_matroska(path: Path, shape: Shape) -> None:
    """Write crop and pixel shape of the picture stream, whose title begins with PLACEHOLDER. The file must
    have no checksums. ValueError if there is no such stream.
    """
    with path.open("r+b") as file:
        head = file.read(_HEAD)
        begin, end = _find_track(head, PLACEHOLDER.encode())
        extra = [(_CROP_RIGHT, shape.right), (_CROP_BOTTOM, shape.bottom)]
        if shape.aspect != 1:
            extra += [(_DISPLAY_WIDTH, round(shape.width * shape.aspect)), (_DISPLAY_HEIGHT, shape.height)]
        numbers = b"".join(_element(code, number.to_bytes(4, "big")) for code, number in extra if number)
        entry = b""
        for code, payload in _elements(head, begin, end):
            if code == _VIDEO:
                kept = payload if shape.aspect == 1 else _without_display(payload)
                entry += _element(code, kept + numbers)
            elif code != _NAME:
                entry += _element(code, payload)
            elif title := payload.removeprefix(PLACEHOLDER.encode()):
                entry += _element(code, title)
        file.seek(begin)
        file.write(entry + _void(end - begin - len(entry)))


def _without_display(video: bytes) -> bytes:
    """The elements of a Video element without displayed size and unit, which FFmpeg may leave unknown."""
    display = (_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT)
    return b"".join(
        _element(code, own) for code, own in _elements(video, 0, len(video)) if code not in display
    )


def complete_mp4(path: Path, shape: Shape) -> None:
    """Write the crop of the picture stream, whose handler is named PLACEHOLDER. ValueError if there is no
    such stream.
    """
    with path.open("r+b") as file:
        begin = _box_in_file(file, b"moov")
        (size,) = struct.unpack(">I", file.read(4))
        file.seek(begin)
        moov = file.read(size)
        for track, track_end in _boxes(moov, 8, len(moov), b"trak"):
            if PLACEHOLDER.encode() in moov[track:track_end]:
                file.seek(begin + track)
                file.write(_cropped_track(moov[track:track_end], shape))
                return
    raise ValueError(f"{path} has no picture stream to complete")


def complete_y4m_header(header: bytes, shape: Shape) -> bytes:
    """Add the pixel shape to the header of a y4m stream."""
    return header.replace(b" A0:0 ", b" A%d:%d " % shape.aspect.as_integer_ratio(), 1)


class Y4MFile(io.RawIOBase):
    """A file for PyAV to write y4m to, whose header gets the pixel shape; no path = standard output."""

    def __init__(self, path: Path | None, shape: Shape) -> None:
        super().__init__()
        self._file = os.fdopen(os.dup(1), "wb") if path is None else path.open("r+b")
        self._shape = shape
        self._is_first = True

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write bytes."""
        whole = bytes(data)
        self._file.write(complete_y4m_header(whole, self._shape) if self._is_first else whole)
        self._is_first = False
        return len(whole)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def _find_track(head: bytes, name: bytes) -> tuple[int, int]:
    """Start and end of the content of the track with a name."""
    spans = [(0, len(head))]
    for code in (_SEGMENT, _TRACKS, _ENTRY):
        spans = [span for begin, end in spans for span in _spans(head, begin, end, code)]
    for begin, end in spans:
        if name in head[begin:end]:
            return begin, end
    raise ValueError("there is no picture stream to complete")


def _spans(data: bytes, begin: int, end: int, code: bytes) -> list[tuple[int, int]]:
    return [(at, min(to, end)) for kind, at, to in _iterate_elements(data, begin, end) if kind == code]


def _elements(data: bytes, begin: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    return ((code, data[at:to]) for code, at, to in _iterate_elements(data, begin, end))


def _iterate_elements(data: bytes, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield adjacent EBML elements: code, start and end of the content."""
    while begin < end - 1:
        code = data[begin : begin + _length(data[begin])]
        begin += len(code)
        width = _length(data[begin])
        size = int.from_bytes(data[begin : begin + width], "big") & ((1 << 7 * width) - 1)
        begin += width
        yield code, begin, begin + size
        begin += size


def _length(first: int) -> int:
    """Length of an EBML number in bytes, from its first byte."""
    return 9 - first.bit_length() if first else 9


def _element(code: bytes, payload: bytes) -> bytes:
    width = 1 if len(payload) < 127 else 4
    return code + (len(payload) | 1 << 7 * width).to_bytes(width, "big") + payload


def _void(size: int) -> bytes:
    """A void element of ``size`` bytes, 0 or 2 to 128."""
    if size == 0:
        return b""
    if not 2 <= size <= 128:
        raise ValueError(f"a placeholder leaves {size} bytes")
    return _element(_VOID, bytes(size - 2))


def _box_in_file(file: io.BufferedRandom, kind: bytes) -> int:
    """Start of a box of an MP4 file, with the file positioned there."""
    begin = 0
    while len(head := file.read(16)) >= 8:
        size, name = struct.unpack(">I4s", head[:8])
        if name == kind:
            file.seek(begin)
            return begin
        begin += struct.unpack(">Q", head[8:])[0] if size == 1 else size
        file.seek(begin)
    raise ValueError(f"the file has no {kind.decode()} box")


def _boxes(data: bytes, begin: int, end: int, kind: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of boxes of a kind."""
    while begin < end - 7:
        size, name = struct.unpack(">I4s", data[begin : begin + 8])
        if name == kind:
            yield begin, begin + size
        begin += max(size, 8)


def _cropped_track(track: bytes, shape: Shape) -> bytes:
    """A track of the same size, with a crop."""
    data = bytearray(track)
    _, header_end = next(_boxes(track, 8, len(track), b"tkhd"))
    data[header_end - 8 : header_end] = struct.pack(">II", shape.width << 16, shape.height << 16)
    media, media_end = next(_boxes(track, 8, len(track), b"mdia"))
    handler, _ = next(_boxes(track, media + 8, media_end, b"hdlr"))
    path = [next(_boxes(track, media + 8, media_end, b"minf"))]
    for kind in (b"stbl", b"stsd"):
        path.append(next(_boxes(track, path[-1][0] + 8, path[-1][1], kind)))
    entry = path[-1][0] + 16  # after the size, kind, version and count of stsd
    clap = struct.pack(
        ">I4sIIIIiIiI", 40, b"clap", shape.width, 1, shape.height, 1, -shape.right, 2, -shape.bottom, 2
    )
    for at in [*(begin for begin, _ in path), entry]:
        _grow(data, at, len(clap))
    entry_end = entry + struct.unpack(">I", track[entry : entry + 4])[0]
    data[entry_end:entry_end] = clap
    name = data.index(PLACEHOLDER.encode())
    if data[name - 1] == len(PLACEHOLDER):  # QuickTime puts the length first
        data[name - 1] -= len(clap)
    _grow(data, handler, -len(clap))
    del data[name + len(PLACEHOLDER) - len(clap) : name + len(PLACEHOLDER)]
    return bytes(data)


def _grow(data: bytearray, box: int, by: int) -> None:
    data[box : box + 4] = struct.pack(">I", struct.unpack(">I", data[box : box + 4])[0] + by)
