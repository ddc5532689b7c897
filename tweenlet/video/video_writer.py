"""Video writer: frames and pictures into one video file, or into y4m on standard output.

::

    Frame ───────── as it is ───────────┐
                                        ├─> encoder ─> container ─> a partial file ─ success ─> name.mp4
    RGB (3, H, W) ─ float to Y'CbCr ────┘    │             ▲                └─ failure ─> removed
                            a new one every SEGMENT  audio and subtitles up to this time

A new file has a temporary name beside the final one until it is complete (:mod:`tweenlet.runtime.atomic`).
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from tweenlet.runtime.atomic import Partial
from tweenlet.runtime.scheduling import keep_scheduling
from tweenlet.video.codecs import DEFAULT, choose_codec
from tweenlet.video.conversion import convert_picture, from_rgb
from tweenlet.video.encoding import Encoding
from tweenlet.video.frame import Frame
from tweenlet.video.headers import Y4MFile, complete_matroska, complete_mp4, pad_to_shape
from tweenlet.video.journal import SEGMENT, Coded, Journal
from tweenlet.video.opacity import read_alpha, write_alpha
from tweenlet.video.orientation import UPRIGHT
from tweenlet.video.reader import Reader
from tweenlet.video.retiming import TimeMap
from tweenlet.video.static_areas import copy_static_areas
from tweenlet.video.streams import StreamCopier, copy_metadata
from tweenlet.video.writer import FixedRate, Picture, Writer, describe_left_out

_FINEST = 2**31 - 1  # the largest denominator of a time base


class VideoWriter(Writer):
    """Pictures into one video file or into y4m on standard output."""

    def __init__(
        self,
        path: Path | None,
        name: str,
        template: Reader,
        rate: Fraction,
        sound: bool,
        time_map: TimeMap | None = None,
        encoding: Encoding = DEFAULT,
        job: str = "",
    ) -> None:
        super().__init__(name)
        rate = _representable(rate)
        codec = choose_codec(".y4m" if path is None else path.suffix, template, encoding)
        if codec.max_rate is not None and rate > codec.max_rate:
            raise ValueError(
                f"{name} counts times in milliseconds: expected up to {codec.max_rate} frames per second, "
                f"got {float(rate):g}; .mp4 and .mov hold more"
            )
        self._codec = codec
        self.keeps_alpha = codec.keeps_alpha
        self.warnings += codec.warnings(template, name)
        self._orientation = template.orientation if codec.fixed_rate else UPRIGHT
        self._streams: StreamCopier | None = None
        self._recent: list[tuple[Frame, av.VideoFrame]] = []
        self._fixed_rate = FixedRate(name, rate) if codec.fixed_rate else None
        self._shown: dict[int, int] = {}  # pts -> duration of the pictures inside the encoder
        self._first = self._last = -1
        self._end = 0
        self._first_dts: int | None = None
        self._encoder: av.VideoCodecContext | None = None
        self._pending: list[Coded] = []  # of the segment under way
        self._count = 0  # pictures so far
        self._segments = 0  # written so far
        self._journal: Journal | None = None
        self._partial = None if path is None else Partial(path)
        self._sink: Y4MFile | None = None
        try:
            with self._explain_errors():
                target = None if self._partial is None else self._partial.path
                if codec.fixed_rate and codec.completes_header:
                    self._sink = Y4MFile(target, codec.shape)
                self._output = av.open(
                    self._sink or ("pipe:1" if target is None else str(target)), "w",
                    format=codec.container, container_options=codec.container_options,
                )  # fmt: skip
        except BaseException:
            if self._partial is not None:
                self._partial.discard()
            raise
        try:
            self._stream = codec.add_to(self._output, template, rate)
            self._time_base = _time_base(template, rate, codec.fixed_rate)
            self._stream.codec_context.time_base = self._time_base
            if codec.fixed_rate:
                self.warnings += describe_left_out(template, name, sound)
            elif template.stream is not None:
                copy_metadata(cast(InputContainer, template.stream.container), self._output)
                if sound and template.location is not None and template.location.pipe is None:
                    self._streams = StreamCopier(
                        template.location,
                        self._output,
                        template.stream.index,
                        template.companions,
                        template.clip,
                        time_map,
                        encoding.audio,
                    )
            if job and path is not None and not codec.fixed_rate and not codec.has_side_pictures:
                self._journal = Journal(path, f"{job} {codec} {rate}")
                self.saved = len(self._journal) * SEGMENT
        except BaseException:
            self._discard()
            raise

    def _write(
        self, picture: Picture, time: Fraction, duration: Fraction, between: tuple[Frame, Frame] | None
    ) -> None:
        frame = self._convert(picture) if isinstance(picture, Frame) else self._encode_rgb(picture)
        if between is not None:
            copy_static_areas(frame, *map(self._convert, between))
        frame = pad_to_shape(frame, self._codec.shape)
        if (frame.width, frame.height) != (self._stream.width, self._stream.height):
            width, height = self._codec.size
            raise ValueError(f"got a picture of {frame.width}x{frame.height}, expected {width}x{height}")
        frame.pict_type = 0
        frame.time_base = self._time_base
        if self._fixed_rate is not None:
            for _ in range(self._fixed_rate.repeats(time, duration)):
                frame.pts, _ = self._place(time, duration)
                self._output.mux(self._stream.encode(frame))
            return
        if self._count and self._count % SEGMENT == 0:
            self._end_segment()
        frame.pts, shown = self._place(time, duration)
        self._shown[frame.pts] = shown
        self._encode(frame)

    def skip(self, time: Fraction, duration: Fraction) -> None:
        """Take one of the ``saved`` pictures: what was made of it is written with the rest of its segment."""
        with self._explain_errors():
            if self._count and self._count % SEGMENT == 0:
                self._end_segment()
            self._place(time, duration)

    def _place(self, time: Fraction, duration: Fraction) -> tuple[int, int]:
        """When the next picture is shown and for how long, in units of the time base."""
        begin = max(round(time / self._time_base), self._last + 1)
        shown = max(1, round(duration / self._time_base))
        self._first = begin if self._last < 0 else self._first
        self._last, self._end = begin, begin + shown
        self._count += 1
        return begin, shown

    def _convert(self, frame: Frame) -> av.VideoFrame:
        """A frame as the encoder takes it; those of the last few are remembered."""
        for recent, converted in self._recent:
            if recent is frame:
                return converted
        if self._orientation != UPRIGHT:
            converted = self._encode_rgb(frame.rgb(clip=False))
        else:
            converted = convert_picture(frame.picture, self._codec.pixels, self._codec.colour)
            if self.keeps_alpha and converted is not frame.picture:
                write_alpha(converted, read_alpha(frame.picture))
        self._recent = [*self._recent[-1:], (frame, converted)]
        return converted

    def _encode_rgb(self, rgb: NDArray[np.floating]) -> av.VideoFrame:
        picture = from_rgb(self._orientation.upright(rgb[:3]), self._codec.pixels, self._codec.colour)
        if self.keeps_alpha and len(rgb) > 3:
            write_alpha(picture, rgb[3])
        return picture

    def _encode(self, frame: av.VideoFrame | None) -> None:
        """Give the encoder a picture, or with None have all of it that it still holds."""
        if self._encoder is None:
            self._encoder = self._codec.create_encoder(self._stream)
            with keep_scheduling():
                self._encoder.open()
        for packet in self._encoder.encode(frame):
            duration = packet.duration or 0
            if packet.pts is not None:
                duration = self._shown.pop(packet.pts, duration)
            self._pending.append(Coded.of(packet, duration, self._codec.has_side_pictures))

    def _end_segment(self) -> None:
        """Mux the segment under way, as it was saved or as the encoder gives it; the next has its own."""
        if self._journal is not None and self._segments < len(self._journal):
            self._pending = self._journal.read(self._segments)
        else:
            self._encode(None)
            if self._journal is not None and self._count % SEGMENT == 0:
                self._journal.append(self._pending)
        self._mux_pending()
        self._segments, self._encoder, self._pending = self._segments + 1, None, []

    def _mux_pending(self) -> None:
        """Mux packets, and before each what lies beside the pictures up to its time: timed text of .mp4 must
        come before a picture that is later.
        """
        for coded in self._pending:
            packet = coded.packet(self._stream, self._time_base)
            if self._first_dts is None:
                self._first_dts = packet.dts
                with keep_scheduling():  # the stream's own encoder is opened, for the header
                    self._output.start_encoding()
            if self._streams is None:
                self._output.mux(packet)
            else:
                self._streams.copy_until((packet.pts or 0) * self._time_base)
                self._streams.mux([packet])

    def _complete(self) -> None:
        if self._last < 0:
            raise ValueError(f"no pictures were given for {self.name}")
        if self._fixed_rate is not None:
            self._output.mux(self._stream.encode(None))
        else:
            self._end_last_segment()
        if self._streams is not None:
            self._streams.copy_until(None)
            self.warnings += self._streams.warnings
            self._streams.close()
        if self._fixed_rate is not None:
            self.warnings += self._fixed_rate.warnings()
        self._output.close()
        if self._sink is not None:
            self._sink.close()
        if self._partial is not None:
            self._complete_header(self._partial.path)
            self._partial.commit()
        if self._journal is not None:
            self._journal.close(keep=False)

    def _end_last_segment(self) -> None:
        """End the segment under way; its last packet lasts to the end where that is in decoding time."""
        if self._journal is None or self._segments >= len(self._journal):
            self._encode(None)
        else:
            self._pending = self._journal.read(self._segments)
        if self._pending and self._codec.counts_decoding_time:
            last = self._pending[-1]
            first = self._pending[0].dts if self._first_dts is None else self._first_dts
            end = (last.dts or 0) - (first or 0)
            duration = max(last.duration, self._end - self._first - end)
            self._pending[-1] = replace(last, duration=duration)
        self._mux_pending()

    def _complete_header(self, path: Path) -> None:
        if self._codec.completes_header and self._codec.counts_decoding_time:
            complete_mp4(path, self._codec.shape)
        elif self._codec.completes_header and self._sink is None:
            complete_matroska(path, self._codec.shape)
        shown, (width, height) = self._codec.shape, self._codec.size
        if (shown.width, shown.height) != (width, height):
            self.warnings.append(
                f"{self.name}: pictures of odd size are padded to {width}x{height}, as most players ask for, "
                f"and marked to be shown as {shown.width}x{shown.height}"
            )

    def _discard(self) -> None:
        if self._streams is not None:
            self._streams.close()
        with suppress(av.FFmpegError):
            self._output.close()
        if self._sink is not None:
            with suppress(OSError):
                self._sink.close()
        if self._partial is not None:
            self._partial.discard()
        if self._journal is not None:
            self._journal.close(self._interrupted)


def _time_base(template: Reader, rate: Fraction, fixed_rate: bool) -> Fraction:
    """A unit of time in which the source's frames, eighths of them and the new rate are whole numbers; where
    that would be too fine for FFmpeg's 32 bits, one of about a microsecond.
    """
    if fixed_rate:
        return 1 / rate
    source = template.first.duration if template.stream is None else cast(Fraction, template.stream.time_base)
    unit = math.lcm((source / 8).denominator, rate.numerator)
    if unit <= _FINEST:
        return Fraction(1, unit)
    return Fraction(1, rate.numerator * max(1, 1_000_000 // rate.numerator))


def _representable(rate: Fraction) -> Fraction:
    """The rate nearest to one, of 32-bit numbers, as FFmpeg has them."""
    if rate > _FINEST:
        raise ValueError(f"expected a frame rate that can be written, got {float(rate):g}")
    return rate.limit_denominator(min(1_000_000, max(1, int(_FINEST / (rate + 1)))))
