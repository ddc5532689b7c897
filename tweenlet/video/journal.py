"""Journal: the encoded segments of an unfinished video, from which a killed job resumes.

    .NAME.KEY.segments   identity of the job │ segment │ segment │ segm      cut short: not counted
                                              SEGMENT frames each, numbered, with a CRC

Each segment has its own encoder, so that an uninterrupted job, a resumed one and one on many machines write
the same packets. On many machines, segments come in any order.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import av

from tweenlet.runtime.folders import final_path
from tweenlet.runtime.locks import NO_LINK

SEGMENT = 120
"""Output frames per segment: the most that a kill costs, and the longest distance between key frames."""
_HEAD = struct.Struct("<4sIIII")  # mark, number, packets, bytes, CRC
_PACKET = struct.Struct("<qqqB?I")
_MARK = b"TWS2"


@dataclass(frozen=True)
class Coded:
    """An encoded picture; times in units of the encoder's time base."""

    data: bytes
    pts: int | None
    dts: int | None
    duration: int
    is_keyframe: bool
    original: Any = None
    """The encoder's own packet, if it has side data that cannot be saved."""

    @classmethod
    def of(cls, packet: Any, duration: int, whole: bool = False) -> Coded:
        """From an encoder's packet and the duration of its picture; ``whole`` keeps its side data."""
        original = packet if whole else None
        return cls(bytes(packet), packet.pts, packet.dts, duration, packet.is_keyframe, original)

    def pack(self) -> bytes:
        """The bytes in the journal."""
        unknown = (self.pts is None) + 2 * (self.dts is None)
        size = len(self.data)
        head = _PACKET.pack(self.pts or 0, self.dts or 0, self.duration, unknown, self.is_keyframe, size)
        return head + self.data

    def packet(self, stream: av.VideoStream, time_base: Any) -> Any:
        """Convert to a packet of a stream."""
        packet: Any = av.Packet(self.data) if self.original is None else self.original
        packet.stream, packet.time_base, packet.is_keyframe = stream, time_base, self.is_keyframe
        packet.pts, packet.dts, packet.duration = self.pts, self.dts, self.duration
        return packet


class Journal:
    """The segments of one output, in a file beside it.

    Args:
        target: the output.
        identity: identity of the job; segments of another job are dropped.

    Raises:
        OSError: the folder cannot be written.

    """

    def __init__(self, target: Path, identity: str) -> None:
        key = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]
        stem = os.fsencode(target.name).lstrip(b".")[:60].decode(errors="ignore")
        self._path = final_path(target).with_name(f".{stem}.{key}.segments")
        head = hashlib.sha256(identity.encode(errors="surrogateescape")).digest()
        self._file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666), "r+b")
        self._offsets: dict[int, int] = {}  # by number
        if self._file.read(len(head)) == head:
            end = self._scan(len(head))
        else:
            self._file.seek(0)
            self._file.write(head)
            end = len(head)
        self._file.truncate(end)

    def __len__(self) -> int:
        """Number of complete segments before the first incomplete one."""
        return next(number for number in count() if number not in self)

    def __contains__(self, number: int) -> bool:
        """Whether a segment is complete."""
        return number in self._offsets

    def append(self, number: int, packets: Sequence[Coded]) -> None:
        """Append a segment, and flush it to disk."""
        body = b"".join(packet.pack() for packet in packets)
        self._offsets[number] = self._file.seek(0, os.SEEK_END)
        self._file.write(_HEAD.pack(_MARK, number, len(packets), len(body), zlib.crc32(body)) + body)
        self._file.flush()
        os.fsync(self._file.fileno())

    def read(self, number: int) -> list[Coded]:
        """The packets of a segment."""
        self._file.seek(self._offsets[number])
        _, _, packets, size, _ = _HEAD.unpack(self._file.read(_HEAD.size))
        return list(_packets(self._file.read(size), packets))

    def close(self, keep: bool) -> None:
        """Close the file; it is kept only if it holds a complete segment."""
        self._file.close()
        if not (keep and self._offsets):
            self._path.unlink(missing_ok=True)

    def _scan(self, start: int) -> int:
        """Find the complete segments; returns the end of the last."""
        while True:
            head = self._file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return start
            mark, number, _, size, check = _HEAD.unpack(head)
            body = self._file.read(size)
            if mark != _MARK or len(body) < size or zlib.crc32(body) != check:
                return start
            self._offsets[number] = start
            start += _HEAD.size + size


def _packets(body: bytes, packets: int) -> Iterator[Coded]:
    at = 0
    for _ in range(packets):
        pts, dts, duration, unknown, is_keyframe, size = _PACKET.unpack_from(body, at)
        at += _PACKET.size
        data = body[at : at + size]
        yield Coded(data, None if unknown & 1 else pts, None if unknown & 2 else dts, duration, is_keyframe)
        at += size
