"""Stream sinks: transfer one stream other than the pictures to another file.

::

    packet ─ CopyStream ───────────────────────────────────────────────────────> packet, unchanged
    packet ─ AudioTranscoder ─── decode ─ resample ─ fill gaps ─ Opus, AAC ... ─> packet
    packet ─ SubtitleConverter ─ decode ─ WebVTT or SubRip ────────────────────> packet
    packet ─ CaptionMerger ───── decode ─ overlapping lines merged ─ timed text > packet

This module holds the interface and the plain copy; the others are in :mod:`.audio` and :mod:`.subtitles`.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, TypeAlias

import av
from av.container import OutputContainer
from av.stream import Disposition, Stream

from tweenlet.video.codec_parameters import add_parameters

AnyPacket: TypeAlias = "av.Packet[Any]"
_MOV_AUDIO = {"aac", "ac3", "adpcm_ima_qt", "alac", "amr_nb", "amr_wb", "dts", "eac3", "mp2", "mp3"}
"""Audio codecs, besides PCM, that players support in .mov; FFmpeg writes more, some unreadably."""
_PREROLL = Fraction(1, 10)
"""Seconds of hidden sound before the first audible one, for priming the decoder (AAC: 48 ms)."""
JITTER = Fraction(1, 25)
"""Largest deviation of sound from its timestamp, in seconds, before silence is inserted or sound dropped."""


class StreamSink(ABC):
    """Converts the packets of one stream for ``stream`` of an output.

    Packets come in file order; times count from the start of the output.
    """

    stream: Stream

    @abstractmethod
    def convert(self, packet: AnyPacket) -> Iterable[AnyPacket]:
        """Convert one packet of the source."""

    def advance(self, _time: Fraction) -> Iterable[AnyPacket]:
        """Packets due before a time, in seconds, up to which all source packets have come."""
        return ()

    def finish(self) -> Iterable[AnyPacket]:
        """Remaining packets at the end of the source."""
        return ()


def can_hold(source: Stream, form: str, packets: Iterable[AnyPacket] = ()) -> bool:
    """Whether a format can hold a stream and its first packets unchanged, tried in memory because FFmpeg
    reports most problems only when writing. PCM is refused in .mp4, where few players support it.
    """
    if form == "mov" and source.disposition & Disposition.attached_pic:  # which FFmpeg accepts and drops
        return False
    if source.type == "audio" and source.codec_context is not None:
        codec = source.codec_context.codec.canonical_name
        is_plain = codec.startswith("pcm_") and codec not in ("pcm_bluray", "pcm_dvd")
        if (form == "mp4" and is_plain) or (form == "mov" and not is_plain and codec not in _MOV_AUDIO):
            return False
    trial = av.open(io.BytesIO(), "w", format=form)
    packets = list(packets)
    try:
        stream = add_copied_stream(source, trial)
        trial.start_encoding()
        for packet in packets:
            trial.mux(_duplicate(packet, stream))
    except (av.FFmpegError, ValueError):
        packets, holds = [], False
    else:
        holds = True
    try:
        trial.close()
    except av.FFmpegError:
        return holds and not packets  # a file without packets need not be whole
    return holds


def _duplicate(packet: AnyPacket, stream: Stream) -> AnyPacket:
    copy: AnyPacket = av.Packet(bytes(packet))
    copy.stream, copy.time_base, copy.is_keyframe = stream, packet.time_base, packet.is_keyframe
    copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
    return copy


def add_copied_stream(source: Stream, output: OutputContainer) -> Stream:
    """Add a stream for unchanged packets of ``source``, with its metadata and disposition."""
    try:
        stream = output.add_stream_from_template(source, opaque=True)
    except ValueError:
        stream = add_parameters(source, output)
    stream.metadata.update(source.metadata)
    stream.disposition = source.disposition
    return stream


class CopyStream(StreamSink):
    """Copies packets, except sound that an edit list hides or that overlaps earlier sound.

    The output must be able to hold the stream (:func:`can_hold`).
    """

    changed: Fraction | None = None
    """Time, in seconds, from which on AAC has another sample rate or other channels, which is copied as it is
    but plays wrong: containers state them once."""

    def __init__(self, source: Stream, output: OutputContainer) -> None:
        self.stream = add_copied_stream(source, output)
        self._trims = output.format.name in ("mp4", "mov")
        self._is_sound = source.type == "audio"
        self._is_aac = source.codec_context is not None and source.codec_context.name == "aac"
        self._end: Fraction | None = None
        self._last: int | None = None
        self._header: bytes | None = None

    def convert(self, packet: AnyPacket) -> list[AnyPacket]:
        """The packet itself, or none."""
        header = _adts_header(packet) if self._is_aac else None
        if header is not None and self.changed is None and self._header not in (None, header):
            self.changed = (packet.pts or 0) * time_base_of(packet)
        self._header = header
        if self._is_sound and (self._is_hidden(packet) or self._overlaps(packet)):
            return []
        if self._trims and self._last is not None and packet.dts is not None and packet.pts is not None:
            packet.dts = max(packet.dts, self._last + 1)
            packet.pts = max(packet.dts, packet.pts)
        self._last = packet.dts
        packet.stream = self.stream
        return [packet]

    def _is_hidden(self, packet: AnyPacket) -> bool:
        begin = (packet.pts or 0) * time_base_of(packet)
        return packet.is_discard and not (self._trims and -_PREROLL <= begin < 0)

    def _overlaps(self, packet: AnyPacket) -> bool:
        begin, duration = ((ticks or 0) * time_base_of(packet) for ticks in (packet.dts, packet.duration))
        if self._end is not None and begin < self._end - max(duration / 2, JITTER / 2):
            return True
        self._end = begin + duration
        return False


def _adts_header(packet: AnyPacket) -> bytes | None:
    """Sample rate and channels in the header of AAC from a transport stream, as bytes; None for others."""
    start = bytes(memoryview(packet)[:4])
    if len(start) < 4 or start[0] != 0xFF or start[1] & 0xF6 != 0xF0:
        return None
    return bytes([start[2] & 0x3D, start[3] & 0xC0])


def time_base_of(packet: AnyPacket) -> Fraction:
    """Seconds per unit of a packet's times; 0 if unknown."""
    return packet.time_base or Fraction(0)
