"""Audio transcoding: decode one audio stream, keep it in sync, and encode it for another container.

::

    packet ── decode ── resample ── silence in gaps, overlaps dropped ── tempo ── Opus, AAC or FLAC ──> packet
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.fifo import AudioFifo
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Stream

from tweenlet.video.retiming import TimeMap
from tweenlet.video.sinks import JITTER, AnyPacket, StreamSink
from tweenlet.video.tempo import Tempo, without_start

_AUDIO_ENCODERS = {"webm": "libopus", "mp4": "aac", "mov": "aac", "matroska": "aac"}
_CHOSEN = {"aac": "aac", "opus": "libopus"}
_LAYOUTS = {1: "mono", 2: "stereo", 3: "5.1", 4: "5.1", 5: "5.1", 6: "5.1", 7: "7.1", 8: "7.1"}
_LONGEST_SILENCE = 600
"""Longest gap in the sound, in seconds, to fill with silence; longer ones stay gaps."""


class AudioTranscoder(StreamSink):
    """Re-encodes sound with the output's codec, in sync even if timestamps, channels or sample rate change.
    ValueError if the sound cannot be encoded.
    """

    def __init__(
        self,
        source: AudioStream,
        output: OutputContainer,
        time_map: TimeMap | None = None,
        codec: str | None = None,
    ) -> None:
        context = source.codec_context
        if context is None or not context.sample_rate or not context.channels:
            raise ValueError("its parameters are unknown")
        self._source = context
        name = _CHOSEN.get(codec or "") or _audio_encoder_name(output.format.name, context.name)
        trial = _open_encoder(name, context)
        self._rate = trial.sample_rate
        self._output_stream = cast(
            AudioStream,
            output.add_stream(name, self._rate, layout=trial.layout.name, format=trial.format.name),
        )
        self._output_stream.codec_context.bit_rate = trial.bit_rate
        self.stream: Stream = self._output_stream
        self.stream.metadata.update(source.metadata)
        self.stream.disposition = source.disposition
        self._layout, self._format, self._size = (
            trial.layout.name,
            trial.format.name,
            trial.frame_size or 1024,
        )
        self._map = time_map or TimeMap()
        self._tempo = None
        if not self._map.is_identity:
            self._tempo = Tempo(self._format, self._layout, self._rate, self._map)
        self._resampler: av.AudioResampler | None = None
        self._input_format: tuple[str, str, int] | None = None  # what the resampler was set up for
        self._fifo = AudioFifo()
        self._at = 0  # time of the next packet, in samples
        self._taken = 0  # time of the next samples of the source, in samples
        self._due: Fraction | None = None  # time of the next sample of the source, in samples of the output
        self._surplus = 0  # samples still to be left out

    def convert(self, packet: AnyPacket) -> Iterator[AnyPacket]:
        """Encode the sound of one packet; returns complete output packets."""
        yield from self._resample(cast("av.Packet[AudioStream]", packet).decode())

    def finish(self) -> Iterator[AnyPacket]:
        """Flush the decoder and encoder; returns the last packets."""
        with suppress(av.FFmpegError):
            yield from self._resample(self._source.decode(None))
        yield from self._drain()
        yield from self._finish_tempo()
        yield from self._encode(rest=True)
        if self._output_stream.codec_context.is_open:
            yield from self._output_stream.encode(None)

    def _resample(self, frames: Iterable[av.AudioFrame]) -> Iterator[AnyPacket]:
        for frame in frames:
            yield from self._fill_gap(frame)
            signature = frame.format.name, frame.layout.name, frame.sample_rate
            if self._resampler is None or signature != self._input_format:
                yield from self._drain()
                self._input_format = signature
                self._resampler = av.AudioResampler(self._format, self._layout, self._rate)
            frame.pts = None
            yield from self._write_samples(self._resampler.resample(frame))

    def _fill_gap(self, frame: av.AudioFrame) -> Iterator[AnyPacket]:
        """Fill a gap before a frame with silence, or drop the overlap with earlier sound."""
        seconds = None if frame.pts is None else frame.pts * (frame.time_base or Fraction(0))
        begin = (self._due or Fraction(0)) if seconds is None else seconds * self._rate
        if self._due is None:
            self._jump_to(begin)
            self._due = begin
            self._surplus = max(round(-begin), 0)
        elif abs(gap := begin - self._due) > JITTER * self._rate:
            yield from self._drain()
            if gap < 0:
                self._surplus += round(-gap)
            elif gap <= _LONGEST_SILENCE * self._rate:
                yield from self._write_silence(round(gap))
            else:
                yield from self._finish_tempo()
                yield from self._encode(rest=True)
                self._jump_to(begin)
            self._due = begin
        self._due += Fraction(frame.samples * self._rate, frame.sample_rate)

    def _write_silence(self, samples: int) -> Iterator[AnyPacket]:
        while samples > 0:
            block = av.AudioFrame(self._format, self._layout, min(samples, self._rate))
            for plane in block.planes:
                plane.update(bytes(plane.buffer_size))
            block.sample_rate = self._rate
            samples -= block.samples
            yield from self._write_samples([block])

    def _drain(self) -> Iterator[AnyPacket]:
        """Drain the resampler, before it is configured again."""
        if self._resampler is not None:
            blocks = self._resampler.resample(None)
            self._resampler = None
            yield from self._write_samples(blocks)

    def _write_samples(self, blocks: Iterable[av.AudioFrame | None]) -> Iterator[AnyPacket]:
        for block in blocks:
            if block is None:
                continue
            cut = min(self._surplus, block.samples)
            self._surplus -= cut
            if (rest := without_start(block, cut)) is not None:
                rest.pts, rest.time_base = None, Fraction(1, self._rate)
                samples, time = rest.samples, Fraction(self._taken, self._rate)
                self._store([rest] if self._tempo is None else self._tempo.stretch(rest, time))
                self._taken += samples
        yield from self._encode(rest=False)

    def _finish_tempo(self) -> Iterator[AnyPacket]:
        if self._tempo is not None:
            self._store(self._tempo.finish())
        yield from self._encode(rest=False)

    def _store(self, blocks: Iterable[av.AudioFrame]) -> None:
        for block in blocks:
            block.pts, block.time_base = None, Fraction(1, self._rate)
            self._fifo.write(block)

    def _jump_to(self, begin: Fraction) -> None:
        """Continue at a time, in source samples; nothing may be pending."""
        self._taken = max(round(begin), 0)
        self._at = round(self._map.output_time(Fraction(self._taken, self._rate)) * self._rate)

    def _encode(self, rest: bool) -> Iterator[AnyPacket]:
        for frame in self._fifo.read_many(self._size, partial=rest):
            frame.pts, frame.time_base = self._at, Fraction(1, self._rate)
            self._at += frame.samples
            yield from self._output_stream.encode(frame)


def _audio_encoder_name(form: str, source: str) -> str:
    if form not in _AUDIO_ENCODERS:
        raise ValueError(f"no sound codec is known for {form}")
    return "flac" if form == "matroska" and source.startswith("pcm_") else _AUDIO_ENCODERS[form]


def _open_encoder(name: str, source: AudioCodecContext) -> AudioCodecContext:
    """Open an encoder for a sound, with its channel layout or the nearest that the codec supports."""
    codec = av.Codec(name, "w")
    rates = [48000] if name == "libopus" else sorted(codec.audio_rates or [source.sample_rate])
    deep = name == "flac" and source.format.bytes > 2
    for layout in dict.fromkeys((source.layout.name, _LAYOUTS.get(source.channels, "stereo"), "stereo")):
        encoder = cast(AudioCodecContext, codec.create())
        encoder.sample_rate = next((rate for rate in rates if rate >= source.sample_rate), rates[-1])
        encoder.format = "s32" if deep else (codec.audio_formats or [source.format])[0]
        encoder.bit_rate = 80_000 * max(2, source.channels)
        with suppress(av.FFmpegError, ValueError):
            encoder.layout = layout
            encoder.open()
            return encoder
    raise ValueError(f"{name} cannot hold {source.channels} channels at {source.sample_rate} Hz")
