"""One stream beside the pictures on its way into another file: copied, or converted where it must be.

::

    packet ─ Copy ───────────────────────────────────────────────────────> packet, bit by bit the same
    packet ─ Sound ─ decode ─ resample ─ silence in gaps ─ Opus, AAC ... ─> packet
    packet ─ Text ── decode ─ WebVTT or SubRip ───────────────────────────> packet
    packet ─ Lines ─ decode ─ lines shown at the same time ─ timed text ──> packet
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any, TypeAlias, cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.fifo import AudioFifo
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Disposition, Stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from tweenlet.video.codec_parameters import add_parameters

AnyPacket: TypeAlias = "av.Packet[Any]"
_SOUND = {"webm": "libopus", "mp4": "aac", "mov": "aac", "matroska": "aac"}
_TEXT = {"webm": "webvtt", "matroska": "subrip", "mp4": "mov_text", "mov": "mov_text"}
_LAYOUTS = {1: "mono", 2: "stereo", 3: "5.1", 4: "5.1", 5: "5.1", 6: "5.1", 7: "7.1", 8: "7.1"}
_OF_MOV = {"aac", "ac3", "adpcm_ima_qt", "alac", "amr_nb", "amr_wb", "dts", "eac3", "mp2", "mp3"}
"""Sound that players find in .mov, beside PCM; FFmpeg writes more, some so that it cannot read it again."""
_WARM_UP = Fraction(1, 10)
"""Seconds of hidden sound before the first that is heard, for the decoder to begin on (an AAC has 48 ms)."""
_JITTER = Fraction(1, 25)
"""Seconds by which sound may be off its time stamp before silence is put in or sound left out."""
_LONGEST_SILENCE = 600
"""Seconds without sound that are filled with silence; longer gaps stay gaps."""
_READING = 3
"""Seconds that a line is shown which says no duration."""


class Way(ABC):
    """How the packets of one stream get into an output, whose ``stream`` they belong to there.

    The packets come in the order of the file; times are counted from the start of the output.
    """

    stream: Stream

    @abstractmethod
    def convert(self, packet: AnyPacket) -> Iterable[AnyPacket]:
        """What one packet of the source becomes."""

    def advance(self, _time: Fraction) -> Iterable[AnyPacket]:
        """What is due before a time in seconds, up to which all packets have come."""
        return ()

    def finish(self) -> Iterable[AnyPacket]:
        """What is left when the source has ended."""
        return ()


def is_held(source: Stream, form: str, packets: Iterable[AnyPacket] = ()) -> bool:
    """Whether files of a format hold a stream, and its first packets, as they are: tried in memory, since
    FFmpeg tells most of it only when it writes. PCM is not put into .mp4, where few players look for it.
    """
    if form == "mov" and source.disposition & Disposition.attached_pic:  # which FFmpeg takes and drops
        return False
    if source.type == "audio" and source.codec_context is not None:
        codec = source.codec_context.codec.canonical_name
        is_plain = codec.startswith("pcm_") and codec not in ("pcm_bluray", "pcm_dvd")
        if (form == "mp4" and is_plain) or (form == "mov" and not is_plain and codec not in _OF_MOV):
            return False
    trial = av.open(io.BytesIO(), "w", format=form)
    packets = list(packets)
    try:
        stream = add_copy(source, trial)
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


def add_copy(source: Stream, output: OutputContainer) -> Stream:
    """Add a stream for the packets of ``source`` as they are, with its names and its role."""
    try:
        stream = output.add_stream_from_template(source, opaque=True)
    except ValueError:
        stream = add_parameters(source, output)
    stream.metadata.update(source.metadata)
    stream.disposition = source.disposition
    return stream


class Copy(Way):
    """Packets as they are, but no sound that an edit list hides or that was there before.

    The output must be one that holds such a stream (:func:`is_held`).
    """

    def __init__(self, source: Stream, output: OutputContainer) -> None:
        self.stream = add_copy(source, output)
        self._trims = output.format.name in ("mp4", "mov")
        self._is_sound = source.type == "audio"
        self._end: Fraction | None = None
        self._last: int | None = None

    def convert(self, packet: AnyPacket) -> list[AnyPacket]:
        """The packet itself, or nothing."""
        if self._is_sound and (self._is_hidden(packet) or self._overlaps(packet)):
            return []
        if self._trims and self._last is not None and packet.dts is not None and packet.pts is not None:
            packet.dts = max(packet.dts, self._last + 1)
            packet.pts = max(packet.dts, packet.pts)
        self._last = packet.dts
        packet.stream = self.stream
        return [packet]

    def _is_hidden(self, packet: AnyPacket) -> bool:
        begin = (packet.pts or 0) * _unit(packet)
        return packet.is_discard and not (self._trims and -_WARM_UP <= begin < 0)

    def _overlaps(self, packet: AnyPacket) -> bool:
        begin, duration = ((ticks or 0) * _unit(packet) for ticks in (packet.dts, packet.duration))
        if self._end is not None and begin < self._end - max(duration / 2, _JITTER / 2):
            return True
        self._end = begin + duration
        return False


class Sound(Way):
    """Sound encoded anew with the codec of the output's kind: in time, whatever its time stamps, channels and
    sample rate do on the way. ValueError if it cannot be.
    """

    def __init__(self, source: AudioStream, output: OutputContainer) -> None:
        context = source.codec_context
        if context is None or not context.sample_rate or not context.channels:
            raise ValueError("nothing is known of this sound")
        name = _sound_codec(output.format.name, context.name)
        trial = _encoder_for(name, context)
        self._rate = trial.sample_rate
        self._encoded = cast(
            AudioStream,
            output.add_stream(name, self._rate, layout=trial.layout.name, format=trial.format.name),
        )
        self._encoded.codec_context.bit_rate = trial.bit_rate
        self.stream: Stream = self._encoded
        self.stream.metadata.update(source.metadata)
        self.stream.disposition = source.disposition
        self._layout, self._format, self._size = (
            trial.layout.name,
            trial.format.name,
            trial.frame_size or 1024,
        )
        self._resampler: av.AudioResampler | None = None
        self._heard: tuple[str, str, int] | None = None  # what the resampler was set up for
        self._fifo = AudioFifo()
        self._at = 0  # time of the next packet, in samples
        self._due: Fraction | None = None  # time of the next sample of the source, in samples of the output
        self._surplus = 0  # samples still to be left out

    def convert(self, packet: AnyPacket) -> Iterator[AnyPacket]:
        """The sound of one packet, encoded as far as it fills the new packets."""
        for frame in cast("av.Packet[AudioStream]", packet).decode():
            yield from self._keep_time(frame)
            signature = frame.format.name, frame.layout.name, frame.sample_rate
            if self._resampler is None or signature != self._heard:
                yield from self._drain()
                self._heard = signature
                self._resampler = av.AudioResampler(self._format, self._layout, self._rate)
            frame.pts = None
            yield from self._put(self._resampler.resample(frame))

    def finish(self) -> Iterator[AnyPacket]:
        """The end of the sound."""
        yield from self._drain()
        yield from self._encode(rest=True)
        if self._encoded.codec_context.is_open:
            yield from self._encoded.encode(None)

    def _keep_time(self, frame: av.AudioFrame) -> Iterator[AnyPacket]:
        """Fill a gap before a frame, or have left out what was heard before."""
        seconds = None if frame.pts is None else frame.pts * (frame.time_base or Fraction(0))
        begin = (self._due or Fraction(0)) if seconds is None else seconds * self._rate
        if self._due is None:
            self._at, self._due = max(round(begin), 0), begin
            self._surplus = max(round(-begin), 0)
        elif abs(gap := begin - self._due) > _JITTER * self._rate:
            yield from self._drain()
            if gap < 0:
                self._surplus += round(-gap)
            elif gap <= _LONGEST_SILENCE * self._rate:
                yield from self._silence(round(gap))
            else:
                yield from self._encode(rest=True)
                self._at += round(gap)
            self._due = begin
        self._due += Fraction(frame.samples * self._rate, frame.sample_rate)

    def _silence(self, samples: int) -> Iterator[AnyPacket]:
        while samples > 0:
            block = av.AudioFrame(self._format, self._layout, min(samples, self._rate))
            for plane in block.planes:
                plane.update(bytes(plane.buffer_size))
            block.sample_rate = self._rate
            samples -= block.samples
            yield from self._put([block])

    def _drain(self) -> Iterator[AnyPacket]:
        """Empty the resampler, which then is to be set up anew."""
        if self._resampler is not None:
            blocks = self._resampler.resample(None)
            self._resampler = None
            yield from self._put(blocks)

    def _put(self, blocks: Iterable[av.AudioFrame | None]) -> Iterator[AnyPacket]:
        for block in blocks:
            if block is not None and (rest := self._without_surplus(block)) is not None:
                rest.pts, rest.time_base = None, Fraction(1, self._rate)
                self._fifo.write(rest)
        yield from self._encode(rest=False)

    def _without_surplus(self, block: av.AudioFrame) -> av.AudioFrame | None:
        if not self._surplus:
            return block
        cut = min(self._surplus, block.samples)
        self._surplus -= cut
        block.pts = None
        pieces = AudioFifo()
        pieces.write(block)
        pieces.read(cut)
        return pieces.read()

    def _encode(self, rest: bool) -> Iterator[AnyPacket]:
        for frame in self._fifo.read_many(self._size, partial=rest):
            frame.pts, frame.time_base = self._at, Fraction(1, self._rate)
            self._at += frame.samples
            yield from self._encoded.encode(frame)


def _sound_codec(form: str, source: str) -> str:
    if form not in _SOUND:
        raise ValueError(f"no sound codec is known for {form}")
    return "flac" if form == "matroska" and source.startswith("pcm_") else _SOUND[form]


def _encoder_for(name: str, source: AudioCodecContext) -> AudioCodecContext:
    """An encoder set up for a sound: its own channels where the codec has them, else the nearest."""
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


class _Words(Way):
    """Subtitles that are text, encoded anew. ValueError for pictures of text, or what cannot be read."""

    def __init__(self, source: SubtitleStream, output: OutputContainer) -> None:
        name = _TEXT.get(output.format.name)
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


class Text(_Words):
    """Subtitles that are text, each line in the words of the output's kind."""

    def convert(self, packet: AnyPacket) -> list[AnyPacket]:
        """The same words at the same time."""
        words = self._decoder.decode2(packet)
        if words is None:
            return []
        return [self._encode(words, packet.pts or 0, packet.duration or 0, _unit(packet))]


class Lines(_Words):
    """Subtitles that are text, for files in which one text takes the place of another: what is shown at the
    same time becomes one text of several lines, anew whenever one comes or goes.
    """

    def __init__(self, source: SubtitleStream, output: OutputContainer) -> None:
        super().__init__(source, output)
        self._unit = source.time_base or Fraction(1, 1000)
        self._shown: list[tuple[int, bytes]] = []  # lines, and when they go
        self._since = 0  # when the text last changed; it is written once its end is known

    def convert(self, packet: AnyPacket) -> Iterator[AnyPacket]:
        """The texts that end where a new line begins."""
        words = self._decoder.decode2(packet)
        if words is None:
            return
        begin = max(packet.pts or 0, self._since)
        yield from self._settle(begin)
        if self._shown and begin > self._since:
            yield self._text(begin)
        self._since = begin
        end = begin + (packet.duration or round(_READING / self._unit))
        self._shown += [(end, line.ass) for line in words if isinstance(line, AssSubtitle) and line.ass]

    def advance(self, time: Fraction) -> Iterator[AnyPacket]:
        """The texts that end before a time in seconds."""
        return self._settle(int(time / self._unit))

    def finish(self) -> Iterator[AnyPacket]:
        """The texts up to when the last line goes."""
        return self._settle(max((end for end, _ in self._shown), default=0))

    def _settle(self, time: int) -> Iterator[AnyPacket]:
        """The texts up to a time, as long as lines go and none comes."""
        while self._shown and (change := min(end for end, _ in self._shown)) <= time:
            if change > self._since:
                yield self._text(change)
            self._since = max(change, self._since)
            self._shown = [(end, line) for end, line in self._shown if end > self._since]

    def _text(self, end: int) -> AnyPacket:
        words = SubtitleSet.create(_together([line for _, line in self._shown]), 0, 0)
        return self._encode(words, self._since, end - self._since, self._unit)


def _together(lines: list[bytes]) -> bytes:
    """Lines in the form of ASS, whose ninth field is the text, as one in the style of the first."""
    first, *others = lines
    return rb"\N{\r}".join([first, *(line.split(b",", 8)[-1] for line in others)])


def _unit(packet: AnyPacket) -> Fraction:
    return packet.time_base or Fraction(0)
