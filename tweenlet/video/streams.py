"""Streams of a video other than its pictures: audio, subtitles, data, attachments, chapters, metadata.

::

    source file ── demuxed a second time ── clock ──> packets up to a time ── StreamSink ──> output

Packets are read only as far as the pictures have come: nothing piles up in memory, and nothing is muxed
before the first picture (which would open the encoder and write the header too early). No stream can fail the
run: streams that the output cannot hold, and damaged packets, are left out and named in ``warnings``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream
from av.subtitles.stream import SubtitleStream

from tweenlet.video.audio import AudioTranscoder
from tweenlet.video.container import WHOLE, Clip, Location, open_container, start_of
from tweenlet.video.retiming import TimeMap
from tweenlet.video.sinks import AnyPacket, CopyStream, StreamSink, add_copied_stream, can_hold
from tweenlet.video.subtitles import CaptionMerger, SubtitleConverter
from tweenlet.video.timestamps import repair_timestamps

_FILE_TAGS = {
    "major_brand", "minor_version", "compatible_brands", "encoder", "duration", "location-eng", "timecode",
}  # fmt: skip
_PROBED_PACKETS = 300
"""Packets of a file in which to look for the first of each stream."""
_TRIAL_PACKETS = 3
"""Packets of a stream that an output must accept on trial."""
_COVERS = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png")}


def copy_metadata(source: InputContainer, output: OutputContainer) -> None:
    """Copy metadata such as title and artist, but not tags about the source file itself."""
    output.metadata.update({k: v for k, v in source.metadata.items() if k.lower() not in _FILE_TAGS})


def describe(stream: Stream) -> str:
    """Describe a stream: kind, number and codec, or the name of an attached file."""
    if stream.type == "attachment":
        return f"attachment {stream.metadata.get('filename', stream.index)}"
    kind = "cover" if _is_cover(stream) else f"{stream.type} stream"
    context = stream.codec_context
    codec = getattr(stream, "name", None) if context is None else context.codec.canonical_name
    return f"{kind} {stream.index} ({codec or 'of an unknown codec'})"


def side_streams(source: InputContainer, picture: int, indices: Container[int]) -> list[Stream]:
    """The streams of these indices other than the pictures, except those that repeat other information:
    chapters, time code.
    """
    is_known = {"bin_data"} if source.chapters() else set()
    return [
        s
        for s in source.streams
        if s.index != picture
        and s.index in indices
        and not (s.type == "data" and ("timecode" in s.metadata or getattr(s, "name", None) in is_known))
    ]


class StreamCopier:
    """Copies the other streams of a video file, converting them where the output requires it.

    ``warnings`` name the streams left out; they are complete after ``copy_until(None)``.

    Args:
        location: the source, which is opened a second time.
        output: the output, with its picture stream.
        picture: index of the source's picture stream, by whose clock other timestamps are repaired.
        indices: the streams of the source to copy, apart from the picture stream.
        clip: the part of the source to copy.
        time_map: map between output time and time in that part. Sound is then re-encoded, and data streams
            are left out.
        audio: "none" leaves sound out, "aac" and "opus" re-encode it.

    """

    def __init__(
        self,
        location: Location,
        output: OutputContainer,
        picture: int,
        indices: Container[int],
        clip: Clip = WHOLE,
        time_map: TimeMap | None = None,
        audio: str | None = None,
    ) -> None:
        self.warnings: list[str] = []
        self._location = location
        self._source = open_container(location)
        self._output = output
        self._form, self._kind = output.format.name, Path(output.name).suffix
        self._clip, self._map = clip, time_map or TimeMap()
        self._audio = None if audio == "copy" else audio
        self._start = start_of(self._source) + clip.start
        self._sinks: dict[int, StreamSink] = {}
        self._failed: Counter[int] = Counter()
        self._passed: Counter[int] = Counter()
        self._refused = 0
        self._first = _first_packets(location)
        try:
            streams = [
                stream
                for stream in side_streams(self._source, picture, indices)
                if not (stream.type == "audio" and self._audio == "none")
            ]
            left_out = [stream for stream in streams if not self._add(stream)]
            if left_out:
                names = ", ".join(describe(stream) for stream in left_out)
                reason = f"since {self._kind} files cannot hold it"
                if not self._map.is_identity:
                    reason += ", or its pace cannot be changed"
                self.warnings.append(f"{location.name}: left out, {reason}: {names}")
            self._copy_chapters()
        except BaseException:
            self._source.close()
            raise
        streams = [s for s in self._source.streams if s.index == picture or s.index in self._sinks]
        if self._sinks:
            clip.seek(self._source, None)
        self._packets = repair_timestamps(self._demux(streams), picture) if self._sinks else iter(())
        self._next = next(self._packets, None)

    def copy_until(self, time: Fraction | None) -> None:
        """Mux the packets that begin before a time, in seconds; with None, all the rest."""
        while (packet := self._next) is not None:
            packet_time = self._time_of(packet, packet.pts if packet.dts is None else packet.dts)
            if time is not None and self._map.output_time(packet_time) >= time:
                break
            if packet.stream_index in self._sinks and self._place(packet, packet_time):
                self._passed[packet.stream_index] += 1
                self._mux(packet.stream_index, self._sinks[packet.stream_index].convert(packet))
            self._next = next(self._packets, None)
        for index, way in self._sinks.items():
            self._mux(index, way.finish() if time is None else way.advance(time))
        if time is None:
            self._report_failures()

    def _time_of(self, packet: AnyPacket, stamp: int | None) -> Fraction:
        """Seconds since the start of the clip."""
        base = packet.time_base or Fraction(1)
        return ((stamp or 0) - round(self._start / base)) * base

    def _place(self, packet: AnyPacket, time: Fraction) -> bool:
        """Convert a packet's times to output times; False if it is outside the clip."""
        stream, base = self._source.streams[packet.stream_index], packet.time_base or Fraction(1)
        shift, end = round(self._start / base), time + (packet.duration or 0) * base
        if self._clip.start and (end <= 0 if packet.duration else time < 0):
            return False
        if self._clip.length is not None and time >= self._clip.length:
            return False
        packet.pts = (packet.pts or 0) - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        if stream.type == "subtitle":
            if self._clip.length is not None:
                end = min(end, self._clip.length)
            begin, end = (self._map.output_time(max(t, Fraction(0))) for t in (packet.pts * base, end))
            packet.pts = packet.dts = round(begin / base)
            packet.duration = max(0, round(end / base) - packet.pts) if packet.duration else packet.duration
        elif self._clip.start and time < 0 and isinstance(self._sinks[packet.stream_index], CopyStream):
            return False
        return True

    def mux(self, packets: Iterable[AnyPacket]) -> None:
        """Mux the packets of the pictures. With other streams, errors are about their earlier packets, which
        FFmpeg holds back to write in order of time.
        """
        for packet in packets:
            try:
                self._output.mux(packet)
            except av.FFmpegError as error:
                if isinstance(error, OSError) or not self._sinks:
                    raise
                self._refused += 1

    def close(self) -> None:
        """Close the source file."""
        self._source.close()

    def _demux(self, streams: list[Stream]) -> Iterator[AnyPacket]:
        try:
            yield from self._source.demux(streams)
        except av.FFmpegError as error:
            self.warnings.append(f"the other streams end early: {error.strerror}")

    def _mux(self, index: int, packets: Iterable[AnyPacket]) -> None:
        """Convert and mux a packet; damaged and rejected packets are left out."""
        try:
            for packet in packets:
                self._output.mux(packet)
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, OSError):
                raise
            self._failed[index] += 1

    def _report_failures(self) -> None:
        if self._refused:
            self.warnings.append(f"{self._refused} packets that {self._kind} files cannot hold were left out")
        for index, sink in self._sinks.items():
            if isinstance(sink, CopyStream) and sink.changed is not None:
                name, time = describe(self._source.streams[index]), f"{float(sink.changed):.2f} s"
                self.warnings.append(
                    f"{name} changes its rate or channels at {time}, so that it plays wrong: use --audio aac"
                )
        for index, failed in self._failed.items():
            name = describe(self._source.streams[index])
            self.warnings.append(
                f"{name}: {failed} of {self._passed[index]} packets are damaged and were left out"
            )

    def _add(self, stream: Stream) -> bool:
        """Add one stream to the output, if possible."""
        if _is_cover(stream) and self._form == "matroska":
            return self._attach_cover(stream)
        with suppress(av.FFmpegError, ValueError):
            if stream.type == "attachment":
                if self._form != "matroska" or not can_hold(stream, self._form):
                    return False
                add_copied_stream(stream, self._output)
            elif not self._map.is_identity and not isinstance(stream, AudioStream | SubtitleStream):
                return False
            elif isinstance(stream, AudioStream) and (self._audio or not self._map.is_identity):
                self._sinks[stream.index] = AudioTranscoder(stream, self._output, self._map, self._audio)
            elif can_hold(stream, self._form, self._first.get(stream.index, [])):
                self._sinks[stream.index] = CopyStream(stream, self._output)
            elif isinstance(stream, AudioStream):
                self._sinks[stream.index] = AudioTranscoder(stream, self._output)
            elif isinstance(stream, SubtitleStream):
                kind = CaptionMerger if self._form in ("mp4", "mov") else SubtitleConverter
                self._sinks[stream.index] = kind(stream, self._output)
            else:
                return False
            return True
        return False

    def _attach_cover(self, stream: Stream) -> bool:
        """Attach a cover, the first packet of its stream, to a Matroska file."""
        suffix, mime = _COVERS.get(stream.codec_context.name, ("", ""))
        with open_container(self._location) as source:
            picture = next(source.demux(source.streams[stream.index]), None)
            if not suffix or picture is None or not picture.size:
                return False
            name = stream.metadata.get("filename", f"cover.{suffix}")
            self._output.add_attachment(name, mime, bytes(picture))
        return True

    def _copy_chapters(self) -> None:
        chapters = []
        for chapter in self._source.chapters():
            base = chapter["time_base"] or Fraction(1)
            begin, end = (chapter[side] * base - self._start for side in ("start", "end"))
            if self._clip.length is not None:
                end = min(end, self._clip.length)
            if self._clip != WHOLE:
                begin = max(begin, Fraction(0))
            if begin < end or self._clip == WHOLE:
                times = (round(self._map.output_time(t) / base) for t in (begin, end))
                chapter["start"], chapter["end"] = times
                chapters.append(chapter)
        self._output.set_chapters(chapters)


def _first_packets(location: Location) -> dict[int, list[AnyPacket]]:
    """The first packets of the streams of a file, among its first packets."""
    first: dict[int, list[AnyPacket]] = {}
    with open_container(location) as source, suppress(av.FFmpegError):
        for packet in islice(source.demux(), _PROBED_PACKETS):
            packets = first.setdefault(packet.stream_index, [])
            if packet.size and len(packets) < _TRIAL_PACKETS:
                packets.append(packet)
    return first


def _is_cover(stream: Stream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)
