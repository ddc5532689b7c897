"""One stream beside the pictures on its way into another file: copied, or converted where it must be.

::

    packet ─ Copy ──────────────────────────────────────────────> packet, bit by bit the same
    packet ─ Sound ─ decode ─ resample ─ Opus or AAC ───────────> packet
    packet ─ Text ── decode ─ WebVTT, SubRip or timed text ─────> packet
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Protocol, TypeAlias, cast

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream

AnyPacket: TypeAlias = "av.Packet[Any]"
_SOUND = {"webm": "libopus", "mp4": "aac", "mov": "aac"}
_TEXT = {"webm": "webvtt", "matroska": "subrip", "mp4": "mov_text", "mov": "mov_text"}
_LAYOUTS = {1: "mono", 6: "5.1", 8: "7.1"}


class Way(Protocol):
    """How the packets of one stream get into an output, whose ``stream`` they belong to there."""

    stream: Stream

    def convert(self, packet: AnyPacket) -> list[AnyPacket]:
        """What one packet of the source becomes."""

    def finish(self) -> list[AnyPacket]:
        """What is left when the source has ended."""


class Copy:
    """Packets as they are. ValueError if the output cannot hold such a stream."""

    def __init__(self, source: Stream, output: OutputContainer) -> None:
        raw = source.codec_context is not None and source.codec_context.name.startswith("pcm_")
        if raw and output.format.name == "mp4":
            raise ValueError("few players take PCM in .mp4, and FFmpeg not always")
        self.stream = output.add_stream_from_template(source)

    def convert(self, packet: AnyPacket) -> list[AnyPacket]:
        """The packet itself."""
        packet.stream = self.stream
        return [packet]

    def finish(self) -> list[AnyPacket]:
        """Nothing."""
        return []


class Sound:
    """Sound encoded anew with the codec of the output's kind. ValueError if there is none."""

    def __init__(self, source: AudioStream, output: OutputContainer) -> None:
        name = _SOUND.get(output.format.name)
        if name is None:
            raise ValueError(f"no sound codec is known for {output.format.name}")
        context = source.codec_context
        rate = 48000 if name == "libopus" else context.sample_rate
        layout = _LAYOUTS.get(context.channels, "stereo")
        self._encoded = cast(AudioStream, output.add_stream(name, rate, layout=layout))
        self._encoded.codec_context.bit_rate = 80_000 * max(2, context.channels)
        self.stream: Stream = self._encoded
        size = 960 if name == "libopus" else 1024
        self._resampler = av.AudioResampler(self._encoded.codec_context.format, layout, rate, size)

    def convert(self, packet: AnyPacket) -> list[AnyPacket]:
        """The sound of one packet, encoded as far as it fills the new packets."""
        frames = cast("av.Packet[AudioStream]", packet).decode()
        blocks = [block for frame in frames for block in self._resampler.resample(frame)]
        return [made for block in blocks for made in self._encoded.encode(block)]

    def finish(self) -> list[AnyPacket]:
        """The end of the sound."""
        blocks = self._resampler.resample(None)
        return [made for block in [*blocks, None] for made in self._encoded.encode(block)]


class Text:
    """Subtitles that are text, in the words of the output's kind. ValueError for pictures of text."""

    def __init__(self, source: SubtitleStream, output: OutputContainer) -> None:
        name = _TEXT.get(output.format.name)
        self._decoder = source.codec_context
        self._decoder.open(strict=False)
        if name is None or self._decoder.subtitle_header is None:
            raise ValueError(f"these subtitles are not known in {output.format.name}")
        self.stream: Stream = output.add_stream(name)
        self._encoder = cast(SubtitleCodecContext, self.stream.codec_context)
        self._encoder.subtitle_header = self._decoder.subtitle_header
        self._encoder.time_base = source.time_base or Fraction(1, 1000)

    def convert(self, packet: AnyPacket) -> list[AnyPacket]:
        """The same words at the same time."""
        words = self._decoder.decode2(packet)
        if words is None:
            return []
        made = self._encoder.encode_subtitle(words)
        made.stream, made.time_base = self.stream, packet.time_base
        made.pts = made.dts = packet.pts
        made.duration = packet.duration
        return [made]

    def finish(self) -> list[AnyPacket]:
        """Nothing."""
        return []
