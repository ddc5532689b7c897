"""Subtitle conversion: decode text subtitles, and encode them for another container.

::

    packet ── decode ── WebVTT or SubRip ───────────────────────> packet     one event, one packet
    packet ── decode ── lines shown at the same time ── mov_text ─> packet   one packet at a time on screen
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import cast

from av.container import OutputContainer
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from tweenlet.video.sinks import AnyPacket, StreamSink, time_base_of

_SUBTITLE_ENCODERS = {"webm": "webvtt", "matroska": "subrip", "mp4": "mov_text", "mov": "mov_text"}
_DEFAULT_LINE_SECONDS = 3
"""Duration of a line that has none, in seconds."""


class _SubtitleSink(StreamSink):
    """Re-encodes text subtitles. ValueError for bitmap subtitles, or if they cannot be read."""

    def __init__(self, source: SubtitleStream, output: OutputContainer) -> None:
        name = _SUBTITLE_ENCODERS.get(output.format.name)
        decoder = source.codec_context
        if name is None or decoder is None:
            raise ValueError(f"these subtitles are not known in {output.format.name}")
        decoder.open(strict=False)
        if decoder.subtitle_header is None:
            raise ValueError("these subtitles are pictures")
        self._decoder = decoder
        self.stream = output.add_stream(name)
        self.stream.metadata.update(source.metadata)
        self.stream.disposition = source.disposition
        self._encoder = cast(SubtitleCodecContext, self.stream.codec_context)
        self._encoder.subtitle_header = decoder.subtitle_header
        self._encoder.time_base = source.time_base or Fraction(1, 1000)

    def _encode(self, words: SubtitleSet, begin: int, duration: int, unit: Fraction) -> AnyPacket:
        packet = self._encoder.encode_subtitle(words)
        packet.stream, packet.time_base = self.stream, unit
        packet.pts = packet.dts = begin
        packet.duration = duration
        return packet


class SubtitleConverter(_SubtitleSink):
    """Converts text subtitles line by line to the output's format."""

    def convert(self, packet: AnyPacket) -> list[AnyPacket]:
        """The same text at the same time."""
        words = self._decoder.decode2(packet)
        if words is None:
            return []
        return [self._encode(words, packet.pts or 0, packet.duration or 0, time_base_of(packet))]


class CaptionMerger(_SubtitleSink):
    """Converts text subtitles for formats with one text at a time: simultaneous lines are merged into one
    text, which is replaced whenever a line starts or ends.
    """

    def __init__(self, source: SubtitleStream, output: OutputContainer) -> None:
        super().__init__(source, output)
        self._unit = source.time_base or Fraction(1, 1000)
        self._shown: list[tuple[int, bytes]] = []  # lines, and when they end
        self._since = 0  # when the text last changed; it is written once its end is known

    def convert(self, packet: AnyPacket) -> Iterator[AnyPacket]:
        """Texts that end where a new line begins."""
        words = self._decoder.decode2(packet)
        if words is None:
            return
        begin = max(packet.pts or 0, self._since)
        yield from self._flush_until(begin)
        if self._shown and begin > self._since:
            yield self._text(begin)
        self._since = begin
        end = begin + (packet.duration or round(_DEFAULT_LINE_SECONDS / self._unit))
        self._shown += [(end, line.ass) for line in words if isinstance(line, AssSubtitle) and line.ass]

    def advance(self, time: Fraction) -> Iterator[AnyPacket]:
        """Texts that end before a time, in seconds."""
        return self._flush_until(int(time / self._unit))

    def finish(self) -> Iterator[AnyPacket]:
        """Texts up to the end of the last line."""
        return self._flush_until(max((end for end, _ in self._shown), default=0))

    def _flush_until(self, time: int) -> Iterator[AnyPacket]:
        """Texts up to a time, while lines end and none starts."""
        while self._shown and (change := min(end for end, _ in self._shown)) <= time:
            if change > self._since:
                yield self._text(change)
            self._since = max(change, self._since)
            self._shown = [(end, line) for end, line in self._shown if end > self._since]

    def _text(self, end: int) -> AnyPacket:
        words = SubtitleSet.create(_merge_lines([line for _, line in self._shown]), 0, 0)
        return self._encode(words, self._since, end - self._since, self._unit)


def _merge_lines(lines: list[bytes]) -> bytes:
    """Merge lines in ASS format, whose ninth field is the text, into one with the style of the first."""
    first, *others = lines
    return rb"\N{\r}".join([first, *(line.split(b",", 8)[-1] for line in others)])
