"""Timestamps: make them increase in concatenated recordings and streams that step back.

::

    picture  0 ── 1 ── 2 │ 0 ── 1 ── 2        picture  0 ── 1 ── 2 ── 3 ── 4 ── 5
    sound    0 ── 1 ── 2 │ 0 ── 1 ── 2   ──>  sound    0 ── 1 ── 2 ── 3 ── 4 ── 5

Where the clock is reset, all streams continue at the end of the pictures. Sound that steps back while the
pictures do not is an overlap if it stays near them (its stamps are right, and the writer drops the overlap),
else a reset of its own clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, TypeAlias

import av

AnyPacket: TypeAlias = "av.Packet[Any]"
_RESET = Fraction(1, 2)
"""Smallest step back of a clock reset, in seconds."""
_NEAR = 10
"""Largest distance between adjacent pictures and sound in a file, in seconds."""
_PICTURES, _AHEAD = 4, 2000
"""Picture packets to look ahead for, and the packets of any kind to search for them."""


def repair_timestamps(packets: Iterable[AnyPacket], picture: int) -> Iterator[AnyPacket]:
    """Yield packets in file order with repaired timestamps; ``picture`` is the index of the picture stream.
    Every packet gets a time, and empty ones are left out.
    """
    return _TimestampRepair(packets, picture).run()


class _TimestampRepair:
    def __init__(self, packets: Iterable[AnyPacket], picture: int) -> None:
        self._source = iter(packets)
        self._ahead: deque[AnyPacket] = deque()
        self._picture = picture
        self._offsets: dict[int, Fraction] = {}  # seconds to add to a stream's timestamps
        self._last: dict[int, Fraction] = {}  # repaired decoding time of its last packet
        self._steps: dict[int, Fraction] = {}  # seconds between its last two packets
        self._ends: dict[int, Fraction] = {}  # repaired end of its presentation

    def run(self) -> Iterator[AnyPacket]:
        while (packet := self._take()) is not None:
            unit, stream = packet.time_base, packet.stream_index
            if packet.size and unit:
                if packet.dts is None and packet.pts is None:
                    packet.pts = packet.dts = self._guess(stream, unit)
                self._check(packet, unit)
                self._move(packet, unit)
                yield packet

    def _take(self) -> AnyPacket | None:
        return self._ahead.popleft() if self._ahead else next(self._source, None)

    def _guess(self, stream: int, unit: Fraction) -> int:
        return round((self._ends.get(stream, Fraction(0)) - self._offset(stream)) / unit)

    def _check(self, packet: AnyPacket, unit: Fraction) -> None:
        """Check for a clock reset at a packet of pictures or sound."""
        stream = packet.stream_index
        if packet.stream.type not in ("video", "audio"):
            return
        self._offsets.setdefault(stream, self._offset(self._picture))
        if not self._steps_back(packet, unit):
            return
        if stream == self._picture:
            self._offsets[stream] = self._ends[stream] - _begin(packet)
            return
        pictures = self._pictures_ahead()
        coming = self._offset(self._picture)
        if self._offset(stream) == coming:
            coming = self._offset_ahead(pictures)
        self._offsets[stream] = coming
        if self._steps_back(packet, unit) and self._is_far(packet, unit, pictures):
            self._offsets[stream] = self._ends[stream] - _begin(packet)

    def _steps_back(self, packet: AnyPacket, unit: Fraction) -> bool:
        if _is_untimed(packet):
            return False
        stream = packet.stream_index
        now = _stamp(packet) * unit + self._offset(stream)
        return stream in self._last and now < self._last[stream] - _RESET

    def _is_far(self, packet: AnyPacket, unit: Fraction, pictures: list[AnyPacket]) -> bool:
        """Whether sound is far from the adjacent pictures."""
        now = _stamp(packet) * unit + self._offset(packet.stream_index)
        beside = self._last.get(self._picture, now)
        if pictures and pictures[0].time_base:
            beside = _stamp(pictures[0]) * pictures[0].time_base + self._offset(self._picture)
        return abs(now - beside) > _NEAR

    def _offset_ahead(self, pictures: list[AnyPacket]) -> Fraction:
        """Offset of the coming pictures, if one of them steps back."""
        offset = self._offset(self._picture)
        end = self._ends.get(self._picture, Fraction(0))
        for packet in pictures:
            if packet.time_base and self._steps_back(packet, packet.time_base):
                return end - _begin(packet)
            end = max(end, _begin(packet) + offset + self._duration(packet))
        return offset

    def _pictures_ahead(self) -> list[AnyPacket]:
        """The next picture packets, which may include ones from before a step back: broadcast demuxers output
        a picture when the next one begins.
        """
        pictures = [p for p in self._ahead if p.stream_index == self._picture and p.size]
        while len(pictures) < _PICTURES and len(self._ahead) < _AHEAD:
            packet = next(self._source, None)
            if packet is None:
                break
            self._ahead.append(packet)
            if packet.stream_index == self._picture and packet.size:
                pictures.append(packet)
        return pictures[:_PICTURES]

    def _duration(self, packet: AnyPacket) -> Fraction:
        duration = (packet.duration or 0) * (packet.time_base or Fraction(0))
        return duration or self._steps.get(packet.stream_index, Fraction(0))

    def _move(self, packet: AnyPacket, unit: Fraction) -> None:
        stream = packet.stream_index
        offset = round(self._offset(stream) / unit)
        if packet.dts is not None:
            packet.dts += offset
        elif not _is_untimed(packet):
            packet.dts = (packet.pts or 0) + offset
        packet.pts = packet.dts if packet.pts is None else packet.pts + offset
        if packet.dts is not None:
            now = packet.dts * unit
            if 0 < now - self._last.get(stream, now) < _RESET:
                self._steps[stream] = now - self._last[stream]
            self._last[stream] = now
        end = _begin(packet) + self._duration(packet)
        self._ends[stream] = max(end, self._ends.get(stream, end))

    def _offset(self, stream: int) -> Fraction:
        """Offset of a stream's timestamps; for subtitles, that of the pictures."""
        return self._offsets.get(stream, self._offsets.get(self._picture, Fraction(0)))


def _is_untimed(packet: AnyPacket) -> bool:
    """Whether there is no decoding time although pictures may be reordered."""
    return packet.dts is None and packet.stream.type == "video"


def _stamp(packet: AnyPacket) -> int:
    """The timestamp that orders packets."""
    return (packet.pts or 0) if packet.dts is None else packet.dts


def _begin(packet: AnyPacket) -> Fraction:
    """Presentation time of a packet, in seconds."""
    return (_stamp(packet) if packet.pts is None else packet.pts) * (packet.time_base or Fraction(0))
