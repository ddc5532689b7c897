"""Image tags: orientation, ICC profile, EXIF, and PNG's colour chunks.

::

    source.png ── read_tags ──> ImageTags ── add_tags ──> the bytes of a new image, of any format

FFmpeg's encoders write none of these through PyAV, and Pillow writes no 16-bit colour, so the tags are
inserted into the encoded bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from tweenlet.runtime.extras import import_extra
from tweenlet.video.orientation import UPRIGHT, Orientation

_ORIENTATION, _COMPRESSION, _ICC = 0x0112, 0x0103, 0x8773  # tags of TIFF
_PNG_COLOUR = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI")
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER = 33  # the signature and IHDR


@dataclass(frozen=True)
class ImageTags:
    """The tags of one image file; ``exif`` is without its orientation and thumbnail."""

    orientation: Orientation = UPRIGHT
    icc: bytes | None = None
    exif: bytes | None = None
    png: tuple[tuple[bytes, bytes], ...] = ()
    """Kind and content of a PNG's colour chunks."""
    jpeg_in_tiff: bool = False
    """Whether a TIFF is compressed as JPEG, which FFmpeg decodes to black."""


_opening = Lock()


@contextmanager
def open_header(path: Path) -> Iterator[Any]:
    """Open an image of any size with Pillow, to read its header only; Pillow's errors."""
    Image = import_extra("PIL.Image")
    with _opening:  # the limit is the process's own
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    with image:
        yield image


def read_tags(path: Path) -> ImageTags:
    """Read the tags of an image file; empty if it has none or Pillow cannot read it.

    OSError if Pillow is not installed: a profile or a rotation would be lost without a word.
    """
    import_extra("PIL.Image")
    try:
        with open_header(path) as image:
            exif = image.getexif()
            number = exif.pop(_ORIENTATION, 1)
            tiff = image.format == "TIFF"
            return ImageTags(
                Orientation.of_exif(number),
                image.info.get("icc_profile") or None,
                exif.tobytes() if len(exif) and not tiff else None,
                tuple(_png_colour(path.read_bytes())) if image.format == "PNG" else (),
                tiff and exif.get(_COMPRESSION) in (6, 7),
            )
    except (OSError, ValueError, SyntaxError, TypeError, struct.error):
        return ImageTags()


def add_tags(data: bytes, tags: ImageTags, gray: bool) -> bytes:
    """Add tags to an encoded PNG, JPEG, TIFF or WebP; a profile only if it fits the kind of pixels."""
    icc = tags.icc if tags.icc and tags.icc[16:20] == (b"GRAY" if gray else b"RGB ") else None
    if data.startswith(_PNG):
        return _tag_png(data, icc, tags)
    if data.startswith(b"\xff\xd8"):
        return _tag_jpeg(data, icc, tags.exif)
    if data.startswith(b"RIFF"):
        return _tag_webp(data, icc, tags.exif)
    return _tag_tiff(data, icc) if icc else data


def strip_png_profile(data: bytes) -> bytes:
    """Remove the ICC profile of a PNG; other files are unchanged."""
    if not data.startswith(_PNG):
        return data
    chunks = [data[at:end] for kind, at, end in _png_chunks(data) if kind != b"iCCP"]
    return _PNG + b"".join(chunks)


def _png_colour(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    for kind, at, end in _png_chunks(data):
        if kind == b"IDAT":
            return
        if kind in _PNG_COLOUR:
            yield kind, data[at + 8 : end - 4]


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of every chunk of a PNG, and of the rest after a damaged one."""
    at = len(_PNG)
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8].ljust(8, b"\0"))
        end = min(at + 12 + length, len(data))
        yield kind, at, end
        at = end


def _tag_png(data: bytes, icc: bytes | None, tags: ImageTags) -> bytes:
    chunks = list(tags.png)
    if icc:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    if tags.exif:
        chunks.append((b"eXIf", tags.exif.removeprefix(b"Exif\0\0")))
    parts = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    ]
    return data[:_PNG_HEADER] + b"".join(parts) + data[_PNG_HEADER:]


def _tag_jpeg(data: bytes, icc: bytes | None, exif: bytes | None) -> bytes:
    segments = []
    if exif and len(exif) <= 65533:
        segments.append(b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif)
    pieces = [icc[at : at + 65519] for at in range(0, len(icc), 65519)] if icc else []
    for number, piece in enumerate(pieces, start=1):
        content = b"ICC_PROFILE\0" + bytes([number, len(pieces)]) + piece
        segments.append(b"\xff\xe2" + struct.pack(">H", len(content) + 2) + content)
    jfif = data[2:4] == b"\xff\xe0"
    begin = 4 + struct.unpack(">H", data[4:6])[0] if jfif else 2
    return data[:begin] + b"".join(segments) + data[begin:]


def _tag_webp(data: bytes, icc: bytes | None, exif: bytes | None) -> bytes:
    """Convert a lossless WebP of one chunk to the extended format, if there are tags to add."""
    if not (icc or exif) or data[12:16] != b"VP8L":
        return data
    bits = struct.unpack("<I", data[21:25])[0]
    width, height, alpha = bits & 0x3FFF, bits >> 14 & 0x3FFF, bits >> 28 & 1
    flags = 0x20 * bool(icc) | 0x10 * alpha | 0x08 * bool(exif)
    size = width.to_bytes(3, "little") + height.to_bytes(3, "little")
    chunks = [(b"VP8X", bytes([flags, 0, 0, 0]) + size)]
    chunks += [(b"ICCP", icc)] if icc else []
    rest = [(b"EXIF", exif.removeprefix(b"Exif\0\0"))] if exif else []
    body = _riff(chunks) + data[12:] + _riff(rest)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _riff(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(
        kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
        for kind, content in chunks
    )


def _tag_tiff(data: bytes, icc: bytes) -> bytes:
    """Append a second directory, which also holds the profile, to a little-endian TIFF."""
    (begin,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[begin : begin + 2])
    entries = [data[at : at + 12] for at in range(begin + 2, begin + 2 + 12 * count, 12)]
    data += b"\0" * (len(data) % 2)
    entries.append(struct.pack("<HHII", _ICC, 7, len(icc), len(data)))
    entries.sort(key=lambda entry: int.from_bytes(entry[:2], "little"))
    data += icc + b"\0" * (len(icc) % 2)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + b"\0\0\0\0"
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + directory
