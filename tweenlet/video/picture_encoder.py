"""Picture encoder: frames and pictures to packets, with a new encoder for each segment.

    Frame ───────── unchanged ──────────┐
                                        ├─> encoder ─> Coded, Coded ...
    RGB (3, H, W) ─ float to Y'CbCr ────┘

It needs no file: its packets do not depend on the process or the order of segments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

from tweenlet.runtime.scheduling import keep_scheduling
from tweenlet.video.codecs import Codec, choose_codec
from tweenlet.video.conversion import convert_picture, from_rgb
from tweenlet.video.encoding import Encoding
from tweenlet.video.frame import Frame
from tweenlet.video.headers import pad_to_shape
from tweenlet.video.journal import Coded
from tweenlet.video.opacity import read_alpha, write_alpha
from tweenlet.video.orientation import UPRIGHT
from tweenlet.video.reader import Reader
from tweenlet.video.static_areas import copy_static_areas
from tweenlet.video.writer import Picture

_FINEST = 2**31 - 1  # the largest denominator of a time base


class Places:
    """Times of pictures in units of a time base, strictly increasing."""

    def __init__(self, time_base: Fraction) -> None:
        self.time_base = time_base
        self.first = self.last = -1
        """Start of the first and the latest picture; -1 if there is none."""
        self.end = 0
        """End of the latest picture."""
        self.count = 0
        """Number of pictures so far."""

    def take(self, time: Fraction, duration: Fraction) -> tuple[int, int]:
        """Convert time and duration of the next picture from seconds."""
        begin = max(round(time / self.time_base), self.last + 1)
        shown = max(1, round(duration / self.time_base))
        self.first = begin if self.last < 0 else self.first
        self.last, self.end = begin, begin + shown
        self.count += 1
        return begin, shown


class PictureEncoder:
    """Encodes pictures in the order of their times.

    Args:
        codec: the configured codec.
        stream: an output stream from :meth:`~tweenlet.video.codecs.Codec.add_to`.
        time_base: unit of time, in seconds.
        template: the reader of the source.

    """

    def __init__(self, codec: Codec, stream: av.VideoStream, time_base: Fraction, template: Reader) -> None:
        self.places = Places(time_base)
        self._codec, self._stream = codec, stream
        self._orientation = template.orientation if codec.fixed_rate else UPRIGHT
        self._recent: list[tuple[Frame, av.VideoFrame]] = []
        self._shown: dict[int, int] = {}  # pts -> duration of the pictures inside the encoder
        self._encoder: av.VideoCodecContext | None = None
        self._packets: list[Coded] = []  # of the current segment

    def write(
        self,
        picture: Picture,
        time: Fraction,
        duration: Fraction,
        between: tuple[Frame, Frame] | None = None,
    ) -> None:
        """Add a picture, as :meth:`.Writer.write` does."""
        frame = self.convert(picture, between)
        frame.pts, shown = self.places.take(time, duration)
        self._shown[frame.pts] = shown
        self._encode(frame)

    @property
    def has_pictures(self) -> bool:
        """Whether the current segment has pictures."""
        return self._encoder is not None

    def end_segment(self) -> list[Coded]:
        """End the segment; returns its packets. The next one gets a new encoder."""
        self._encode(None)
        packets, self._packets, self._encoder = self._packets, [], None
        return with_decoding_times(packets)

    def convert(self, picture: Picture, between: tuple[Frame, Frame] | None = None) -> av.VideoFrame:
        """Convert a picture for the encoder, without its time."""
        frame = self._convert(picture) if isinstance(picture, Frame) else self._encode_rgb(picture)
        if between is not None:
            copy_static_areas(frame, *map(self._convert, between))
        frame = pad_to_shape(frame, self._codec.shape)
        if (frame.width, frame.height) != (self._stream.width, self._stream.height):
            width, height = self._codec.size
            raise ValueError(f"got a picture of {frame.width}x{frame.height}, expected {width}x{height}")
        frame.pict_type = 0
        frame.time_base = self.places.time_base
        return frame

    def _convert(self, frame: Frame) -> av.VideoFrame:
        """Convert a frame for the encoder; the last few are cached."""
        for recent, converted in self._recent:
            if recent is frame:
                return converted
        if self._orientation != UPRIGHT:
            converted = self._encode_rgb(frame.rgb(clip=False))
        else:
            converted = convert_picture(frame.picture, self._codec.pixels, self._codec.colour)
            if self._codec.keeps_alpha and converted is not frame.picture:
                write_alpha(converted, read_alpha(frame.picture))
        self._recent = [*self._recent[-1:], (frame, converted)]
        return converted

    def _encode_rgb(self, rgb: NDArray[np.floating]) -> av.VideoFrame:
        picture = from_rgb(self._orientation.upright(rgb[:3]), self._codec.pixels, self._codec.colour)
        if self._codec.keeps_alpha and len(rgb) > 3:
            write_alpha(picture, rgb[3])
        return picture

    def _encode(self, frame: av.VideoFrame | None) -> None:
        """Encode a picture; None flushes the encoder."""
        if self._encoder is None:
            self._encoder = self._codec.create_encoder(self._stream)
            with keep_scheduling():
                self._encoder.open()
        for packet in self._encoder.encode(frame):
            duration = packet.duration or 0
            if packet.pts is not None:
                duration = self._shown.pop(packet.pts, duration)
            self._packets.append(Coded.of(packet, duration, self._codec.has_side_pictures))


def with_decoding_times(packets: Sequence[Coded]) -> list[Coded]:
    """The packets of a segment, with decoding times also where x265 leaves them uninitialised: in segments
    shorter than its delay of two pictures, which cannot be out of order.
    """
    if len(packets) > 2:
        return list(packets)
    return [replace(packet, dts=packet.pts) for packet in packets]


@contextmanager
def open_encoder(
    suffix: str, template: Reader, rate: Fraction, encoding: Encoding
) -> Iterator[PictureEncoder]:
    """Open the encoder of a video file without the file.

    Args:
        suffix: suffix of the file's name.
        template: the reader of the source.
        rate: frames per second of the output.
        encoding: choices about the encoder.

    """
    codec, rate = choose_codec(suffix, template, encoding), representable(rate)
    with av.open(BytesIO(), "w", format=codec.container) as output:
        stream = codec.add_to(output, template, rate)
        stream.codec_context.time_base = time_base_of(template, rate)
        yield PictureEncoder(codec, stream, time_base_of(template, rate), template)


def time_base_of(template: Reader, rate: Fraction) -> Fraction:
    """A time base in which source times, eighths of the source interval and the new rate are integers; about
    a microsecond if that would exceed FFmpeg's 32 bits.
    """
    source = template.first.duration if template.stream is None else cast(Fraction, template.stream.time_base)
    unit = math.lcm((source / 8).denominator, rate.numerator)
    if unit <= _FINEST:
        return Fraction(1, unit)
    return Fraction(1, rate.numerator * max(1, 1_000_000 // rate.numerator))


def representable(rate: Fraction) -> Fraction:
    """The nearest rate with a 32-bit numerator and denominator, as FFmpeg requires."""
    if rate > _FINEST:
        raise ValueError(f"expected a frame rate that can be written, got {float(rate):g}")
    return rate.limit_denominator(min(1_000_000, max(1, int(_FINEST / (rate + 1)))))
