"""Programmes of a transport stream (ISO/IEC 13818-1): which streams belong together.

PID 0: programme 1 -> PID 4096, programme 2 -> PID 4097        (PAT)
PID 4096: streams with PID 256, 257                             (PMT)

A broadcast carries several programmes; FFmpeg lists the streams of all of them together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from av.container import InputContainer
from av.stream import Stream

_PACKET = 188
_LOOK_AT = 4 << 20  # bytes; a PAT comes ten times a second


def find_companions(container: InputContainer, film: Stream, path: Path | None) -> frozenset[int]:
    """Indices of the streams that belong with a video: those of its programme, or all of the file."""
    everything = frozenset(stream.index for stream in container.streams)
    if path is None or container.format.name != "mpegts":
        return everything
    own = [pids for pids in _programmes(path) if film.id in pids]
    if not own:
        return everything
    return frozenset(stream.index for stream in container.streams if stream.id in set().union(*own))


def _programmes(path: Path) -> list[set[int]]:
    """The PIDs of the streams of each programme."""
    tables: set[int] = set()
    streams: dict[int, set[int]] = {}
    for pid, section in _sections(path, tables):
        if pid == 0 and section[0] == 0:
            entries = section[8:-4]
            tables |= {
                int.from_bytes(entries[i + 2 : i + 4], "big") & 0x1FFF
                for i in range(0, len(entries) - 3, 4)
                if entries[i : i + 2] != b"\0\0"  # programme 0 is the network
            }
        elif pid in tables and section[0] == 2:
            streams.setdefault(pid, _streams(section))
        if tables and len(streams) == len(tables):
            break
    return list(streams.values())


def _streams(section: bytes) -> set[int]:
    pids = set()
    at = 12 + (int.from_bytes(section[10:12], "big") & 0x0FFF)
    while at + 5 <= len(section) - 4:
        pids.add(int.from_bytes(section[at + 1 : at + 3], "big") & 0x1FFF)
        at += 5 + (int.from_bytes(section[at + 3 : at + 5], "big") & 0x0FFF)
    return pids


def _sections(path: Path, tables: set[int]) -> Iterator[tuple[int, bytes]]:
    """Yield complete sections with their PID: PID 0 and those in ``tables``, which may grow meanwhile."""
    parts: dict[int, bytes] = {}
    for pid, begins, payload in _packets(path):
        if pid != 0 and pid not in tables:
            continue
        if begins:
            parts[pid] = payload[1 + payload[0] :] if payload else b""
        elif pid in parts:
            parts[pid] += payload
        section = parts.get(pid, b"")
        length = 3 + (int.from_bytes(section[1:3], "big") & 0x0FFF) if len(section) >= 3 else 0
        if 16 <= length <= len(section):
            yield pid, parts.pop(pid)[:length]


def _packets(path: Path) -> Iterator[tuple[int, bool, bytes]]:
    """Yield PID, whether a section starts, and payload of each packet near the beginning of a file."""
    with path.open("rb") as file:
        data = file.read(_LOOK_AT)
    stride, at = (192, 4) if data[:1] != b"G" and data[4:5] == b"G" else (_PACKET, max(data.find(b"G"), 0))
    for begin in range(at, len(data) - _PACKET + 1, stride):
        packet = data[begin : begin + _PACKET]
        if packet[0] != 0x47 or not packet[3] & 0x10:
            continue
        payload = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
        yield (packet[1] & 0x1F) << 8 | packet[2], bool(packet[1] & 0x40), packet[payload:]
