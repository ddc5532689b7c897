"""Truncation: whether a file ends before the end stated by its own structure.

::

    MP4, MOV   boxes      size kind ...   size kind ...   the last one must end in the file
    Matroska   Segment    size (or "unknown", as of a recording)
    AVI, WAV   RIFF       size, one or more
    Ogg        pages      the last one must be whole
    MPEG-TS    packets of 188 (192 in .m2ts) bytes
    y4m        pictures of one size;   GIF: a last byte;   ASF: a size in the header
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_HEAD = 4096  # bytes in which the header lies
_TAIL = 1 << 17  # an Ogg page has 65,307 bytes at most
_Y4M = {"420": (2, 2), "411": (4, 1), "422": (2, 1), "444": (1, 1), "mono": (0, 0)}
"""Subsampling of chroma across and down; 0 = no chroma."""


def is_truncated(path: Path) -> bool:
    """Whether bytes are missing at the end of a file; False if its format does not tell."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_HEAD)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"):
            return _last_box_end(file, size) > size
        if head.startswith(b"RIFF"):
            return _last_riff_end(file, size) > size
        if head.startswith(b"OggS"):
            return _last_page_end(file, size) > size
        if head.startswith(b"GIF8"):
            file.seek(-1, os.SEEK_END)
            return file.read(1) not in (b";", b"\0")
    return is_truncated_stream(head, size)


def is_truncated_stream(head: bytes, size: int) -> bool:
    """Whether bytes are missing at the end of a stream, from its first bytes and length."""
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return (_segment_end(BytesIO(head)) or 0) > size
    if head.startswith(b"YUV4MPEG2"):
        header, _, after = head.partition(b"\n")
        frame = _y4m_frame(header.decode("ascii", "replace"))
        return after.startswith(b"FRAME\n") and bool(frame) and (size - len(header) - 1) % frame != 0
    if head.startswith(_ASF):
        return _asf_size(head) > size
    for packet, first in ((188, 0), (192, 4)):
        if size > first + packet and head[first] == head[first + packet] == 0x47:
            return size % packet != 0
    return False


def _last_box_end(file: BinaryIO, size: int) -> int:
    at = 0
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0:  # to the end of the file, wherever that is
            return size
        if length < 8 or not all(32 <= byte < 127 or byte == 0xA9 for byte in header[4:8]):
            return at  # no box: the rest is something else
        at += length
    return at


def _segment_end(file: BinaryIO) -> int | None:
    """End of the first Segment of a Matroska file; None if it is not stated."""
    at = 0
    for _ in range(8):
        file.seek(at)
        header = file.read(16)
        if not header or not header[0]:
            return None
        id_length = 9 - header[0].bit_length()
        if len(header) <= id_length or not header[id_length]:
            return None
        length = 9 - header[id_length].bit_length()
        coded = int.from_bytes(header[id_length : id_length + length], "big")
        value = coded & ((1 << (7 * length)) - 1)
        unknown = value == (1 << (7 * length)) - 1
        begin = at + id_length + length
        if header[:id_length] == b"\x18\x53\x80\x67":
            return None if unknown else begin + value
        if unknown:
            return None
        at = begin + value
    return None


def _last_riff_end(file: BinaryIO, size: int) -> int:
    at = 0
    while at + 12 <= size:
        file.seek(at)
        header = file.read(8)
        length = int.from_bytes(header[4:], "little")
        if header[:4] not in (b"RIFF", b"JUNK") or length == 0:
            break
        at += 8 + length + length % 2
    return min(at, at - 1) if at == size + 1 else at  # the last byte may be padding that is left out


def _last_page_end(file: BinaryIO, size: int) -> int:
    begin = max(0, size - _TAIL)
    file.seek(begin)
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0:
        return 0
    page = tail[at:]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return size + 1
    return begin + at + 27 + page[26] + sum(page[27 : 27 + page[26]])


def _asf_size(head: bytes) -> int:
    at = head.find(_ASF_FILE)
    return int.from_bytes(head[at + 40 : at + 48], "little") if at >= 0 else 0


def _y4m_frame(header: str) -> int:
    """Bytes of a picture and its header in a y4m stream; 0 if the format is unknown."""
    words = {word[0]: word[1:] for word in header.split()[1:]}
    kind, _, bits = words.get("C", "420").partition("p")
    name = next((name for name in _Y4M if kind.startswith(name)), None)
    width, height = words.get("W", ""), words.get("H", "")
    if name is None or "alpha" in kind or not (width.isdecimal() and height.isdecimal()):
        return 0
    across, down = _Y4M[name]
    samples = int(width) * int(height)
    if across:
        samples += 2 * -(-int(width) // across) * -(-int(height) // down)
    deep = bits[:2].isdecimal() or kind[4:].isdecimal()  # 420p10, mono16
    return len("FRAME\n") + samples * (2 if deep else 1)
