"""Decoder: one stream's packets to pictures in order of time, continuing after damage.

::

    demux ──> look ahead (time stamps) ──> decode ──> DecodedPicture: lost before it? damaged?
                 │                            │
                 └ corrupt packets, and those the decoder rejects, are remembered by their timestamps

A picture from a damaged packet is damaged, as are those after it up to the next key frame, which depend on
it. Packets without a picture are lost; an empty packet only repeats the previous picture.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer

from tweenlet.video.ffv1_checksums import Ffv1Check

_AHEAD, _AHEAD_BYTES = 48, 16 << 20
_FAILURES = 8  # consecutive read errors
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders for WebM's separate opacity, which FFmpeg's native ones ignore."""


@dataclass(frozen=True)
class DecodedPicture:
    """A decoded picture, and the fate of the packets around it."""

    frame: av.VideoFrame
    time: Fraction | None
    """Seconds of the file's clock, if it has a timestamp."""
    damaged: bool
    hurt: bool
    """Whether a packet since the last picture was damaged or gave no picture."""
    lost: Fraction | None
    """Time, in seconds, of the first packet since the last picture that gave no picture."""
    repeats: int
    """Empty packets since the last picture, which prolong it."""


class Decoder:
    """The pictures of one stream; to be iterated once.

    Known from the first packets: ``ahead``, their timestamps in seconds; ``several``, whether there is more
    than one; ``starts_with_key``, whether the first picture is a key frame; ``has_alpha``, whether there is
    separate opacity, which a decoder may ignore. Known after the iteration: ``cut``, whether reading ended
    inside a packet or with an error; ``reach``, the latest time of any stream's packets; ``count``, the
    number of packets; ``lost``, the times of the last packets without a picture.
    """

    def __init__(self, container: InputContainer, stream: av.VideoStream) -> None:
        # with frame threads, FFmpeg's H.264 decoder outputs pictures before it knows all their errors
        stream.thread_type = "SLICE" if stream.codec_context.name == "h264" else "AUTO"
        self._stream = stream
        self._own: Any = None
        self.has_alpha = "1" in map(stream.metadata.get, ("alpha_mode", "ALPHA_MODE"))
        name = _ALPHA_DECODERS.get(stream.codec_context.name)
        if self.has_alpha and name in av.codecs_available:
            self._own = av.CodecContext.create(name, "r")
        self._base = stream.time_base or Fraction(0)
        others = [s for s in container.streams if s.type == "audio" and s.codec_context is not None]
        self._container, self._streams = container, [stream, *others]
        self._check = Ffv1Check() if stream.codec_context.name == "ffv1" else None
        self._waiting: set[int] = set()  # timestamps of packets whose picture has not come yet
        self._bad: set[int] = set()  # and of the damaged ones among them
        self._repeats: set[int | None] = set()  # timestamps of empty packets
        self._hurt = self._failed = self._on_damage = False
        self._last: int | None = None
        self.cut = False
        self.starts_with_key: bool | None = None
        self.reach = Fraction(0)
        self.count = 0
        self.several = False
        self._source = self._read()
        self._ahead: deque[Any] = deque()
        self._look_ahead()

    @property
    def ahead(self) -> list[Fraction]:
        """Timestamps of the first packets, in seconds, without those hidden by an edit list."""
        stamps = (_stamp(packet) for packet in self._ahead if packet.size and not packet.is_discard)
        return [stamp * self._base for stamp in stamps if stamp is not None]

    @property
    def lost(self) -> list[Fraction]:
        """Times, in seconds, of the packets so far without a picture."""
        return [stamp * self._base for stamp in sorted(self._waiting)]

    def __iter__(self) -> Iterator[DecodedPicture]:
        for packet in self._all():
            self._remember(packet)
            for frame in self._decode(packet):
                yield self._assess(frame)

    def _look_ahead(self) -> None:
        size = 0
        for packet in self._source:
            self._ahead.append(packet)
            size += packet.size
            if len(self._ahead) >= _AHEAD or size >= _AHEAD_BYTES:
                break
        self.several = sum(packet.size > 0 for packet in self._ahead) > 1

    def _all(self) -> Iterator[Any]:
        """Packets with data, except a truncated last one, and then the one that drains the decoder. (At an
        error, the decoder would give up the pictures that it still holds.)
        """
        delayed: Any = None
        while True:
            packet = self._ahead.popleft() if self._ahead else next(self._source, None)
            if packet is None or _drains(packet):
                break
            if not packet.size:
                self._repeats.add(_stamp(packet))
                continue
            if delayed is not None:
                yield delayed
            delayed = packet
        if delayed is not None and delayed.is_corrupt:
            self.cut = True
        elif delayed is not None:
            yield delayed
        if packet is not None:
            yield packet

    def _read(self) -> Iterator[Any]:
        """The packets of the stream. Reading continues after damage until nothing more comes, and ends with
        the empty packet that drains the decoder.
        """
        failures = 0
        while failures < _FAILURES:
            try:
                for packet in self._container.demux(self._streams):
                    if packet.size:
                        failures, self.cut = 0, False
                    self._reach(packet)
                    if packet.stream is self._stream:
                        yield packet
            except av.FFmpegError as error:
                self.cut = True
                failures = _FAILURES if isinstance(error, OSError) else failures + 1
            else:
                return
        drain: Any = av.Packet()
        drain.stream = self._stream
        yield drain

    def _reach(self, packet: Any) -> None:
        if packet.dts is not None:
            end = (packet.dts + (packet.duration or 0)) * (packet.time_base or 0)
            self.reach = max(self.reach, end)

    def _remember(self, packet: Any) -> None:
        if _drains(packet):
            return
        stamp = _stamp(packet)
        self.count += 1
        if self.starts_with_key is None:
            self.starts_with_key = packet.is_keyframe
        damaged = packet.is_corrupt or (self._check is not None and self._check.is_damaged(bytes(packet)))
        if stamp is None:
            self._hurt |= damaged
        elif not packet.is_discard:
            if packet.pts is not None:
                self._waiting.add(stamp)
            if damaged:
                self._bad.add(stamp)

    def _decode(self, packet: Any) -> list[av.VideoFrame]:
        try:
            frames: list[av.VideoFrame]
            frames = (
                packet.decode() if self._own is None else self._own.decode(packet if packet.size else None)
            )
        except MemoryError:
            raise
        except (av.FFmpegError, EOFError):
            self._failed = True
            return []
        return frames

    def _assess(self, frame: av.VideoFrame) -> DecodedPicture:
        bad, lost, repeats = frame.is_corrupt, self._lost_before(frame), self._repeats_before(frame)
        if frame.pts is not None:
            bad |= frame.pts in self._bad
            self._bad = {stamp for stamp in self._bad if stamp > frame.pts}
            self._last = frame.pts
        failed = self._failed and (lost is not None or not self._waiting)
        self._failed &= not failed
        self._on_damage = bad or self._hurt or ((failed or self._on_damage) and not frame.key_frame)
        hurt, self._hurt = bad or failed or self._hurt, False
        time = None if frame.pts is None else frame.pts * (frame.time_base or self._base)
        return DecodedPicture(
            frame, time, self._on_damage, hurt, lost * self._base if lost is not None else None, repeats
        )

    def _repeats_before(self, frame: av.VideoFrame) -> int:
        past = {r for r in self._repeats if r is None or frame.pts is None or r < frame.pts}
        self._repeats -= past
        return len(past)

    def _lost_before(self, frame: av.VideoFrame) -> int | None:
        """The first timestamp without a picture between the last picture and this one."""
        if frame.pts is None:  # others cannot be told by theirs
            self._waiting.clear()
            return None
        lost = [w for w in self._waiting if w < frame.pts and (self._last is None or w > self._last)]
        self._waiting = {w for w in self._waiting if w > frame.pts}
        return min(lost, default=None)


def _drains(packet: Any) -> bool:
    return packet.size == 0 and packet.dts is None and packet.pts is None


def _stamp(packet: Any) -> int | None:
    """Presentation timestamp of a packet, else its decoding timestamp, if known."""
    stamp: int | None = packet.dts if packet.pts is None else packet.pts
    return stamp
