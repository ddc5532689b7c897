"""Video writer: frames and pictures into one video file, or into y4m on standard output.

::

    Frame ───────── unchanged ──────────┐
                                        ├─> encoder ─> container ─> a partial file ─ success ─> name.mp4
    RGB (3, H, W) ─ float to Y'CbCr ────┘    │             ▲                └─ failure ─> removed
                            a new one every SEGMENT  audio and subtitles up to this time

A file has a temporary name until it is complete (:mod:`tweenlet.runtime.atomic`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer

from tweenlet.runtime.atomic import Partial
from tweenlet.runtime.scheduling import keep_scheduling
from tweenlet.video.codecs import DEFAULT, choose_codec
from tweenlet.video.encoding import Encoding
from tweenlet.video.frame import Frame
from tweenlet.video.headers import Y4MFile, complete_matroska, complete_mp4
from tweenlet.video.journal import SEGMENT, Coded, Journal
from tweenlet.video.picture_encoder import PictureEncoder, representable, time_base_of
from tweenlet.video.reader import Reader
from tweenlet.video.retiming import TimeMap
from tweenlet.video.streams import StreamCopier, copy_metadata
from tweenlet.video.writer import FixedRate, Picture, Writer, describe_left_out


class VideoWriter(Writer):
    """Writes pictures to one video file or, as y4m, to standard output."""

    def __init__(
        self,
        path: Path | None,
        name: str,
        template: Reader,
        rate: Fraction,
        time_map: TimeMap | None = None,
        encoding: Encoding = DEFAULT,
        job: str = "",
    ) -> None:
        super().__init__(name)
        rate = representable(rate)
        codec = choose_codec(".y4m" if path is None else path.suffix, template, encoding)
        if codec.max_rate is not None and rate > codec.max_rate:
            raise ValueError(
                f"{name} counts times in milliseconds: expected up to {codec.max_rate} frames per second, "
                f"got {float(rate):g}; .mp4 and .mov hold more"
            )
        self._codec = codec
        self.keeps_alpha = codec.keeps_alpha
        self.warnings += codec.warnings(template, name)
        self._streams: StreamCopier | None = None
        self._fixed_rate = FixedRate(name, rate) if codec.fixed_rate else None
        self._first_dts: int | None = None
        self._last_dts: int | None = None
        self._segments = 0  # written so far
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
            time_base = 1 / rate if codec.fixed_rate else time_base_of(template, rate)
            self._stream.codec_context.time_base = time_base
            self._encoder = PictureEncoder(codec, self._stream, time_base, template)
            self._places = self._encoder.places
            if codec.fixed_rate:
                self.warnings += describe_left_out(template, name)
            elif template.stream is not None:
                copy_metadata(cast(InputContainer, template.stream.container), self._output)
                if template.location is not None and template.location.pipe is None:
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
                self.journal = Journal(path, f"{job} {codec} {rate}")
                self.saved = len(self.journal) * SEGMENT
        except BaseException:
            self._discard()
            raise

    def _write(
        self, picture: Picture, time: Fraction, duration: Fraction, between: tuple[Frame, Frame] | None
    ) -> None:
        if self._fixed_rate is None:
            self._begin_picture()
            self._encoder.write(picture, time, duration, between)
            return
        frame = self._encoder.convert(picture, between)
        for _ in range(self._fixed_rate.repeats(time, duration)):
            frame.pts, _ = self._places.take(time, duration)
            self._output.mux(self._stream.encode(frame))

    def _begin_picture(self) -> None:
        """Before another picture, end the segment if it is complete."""
        if self._places.count and self._places.count % SEGMENT == 0:
            self._end_segment()

    def skip(self, time: Fraction, duration: Fraction) -> None:
        """Skip one of the ``saved`` pictures; its packet is written with the rest of its segment."""
        with self._explain_errors():
            self._begin_picture()
            self._places.take(time, duration)

    def save(self, number: int, packets: Sequence[Coded]) -> None:
        """Keep a segment that was encoded elsewhere, until its pictures are passed to :meth:`skip`."""
        assert self.journal is not None
        with self._explain_errors():
            self.journal.append(number, packets)

    def _end_segment(self) -> None:
        """Mux the current segment; the next has its own encoder."""
        self._mux(self._packets_of_segment())
        self._segments += 1

    def _packets_of_segment(self) -> list[Coded]:
        """The packets of the current segment, from the journal or the encoder."""
        if self.journal is not None and not self._encoder.has_pictures:
            return self.journal.read(self._segments)
        packets = self._encoder.end_segment()
        if self.journal is not None and self._places.count % SEGMENT == 0:
            self.journal.append(self._segments, packets)
        return packets

    def _mux(self, packets: Sequence[Coded]) -> None:
        """Mux packets, and before each the other streams up to its time: timed text in .mp4 must come before
        later pictures.
        """
        for coded in packets:
            self._check_times(coded)
            packet = coded.packet(self._stream, self._places.time_base)
            if self._first_dts is None:
                self._first_dts = packet.dts
                with keep_scheduling():  # the stream's own encoder is opened for the header
                    self._output.start_encoding()
            if self._streams is None:
                self._output.mux(packet)
            else:
                self._streams.copy_until((packet.pts or 0) * self._places.time_base)
                self._streams.mux([packet])

    def _check_times(self, coded: Coded) -> None:
        """Check what a container would refuse: an error about a packet may be one about other streams."""
        pts, dts = coded.pts or 0, coded.dts
        if dts is not None and (dts > pts or (self._last_dts is not None and dts <= self._last_dts)):
            raise ValueError(
                f"cannot write {self.name}: the encoder gave the picture at {pts} the time {dts}"
            )
        self._last_dts = dts

    def _complete(self) -> None:
        if not self._places.count:
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
        if self.journal is not None:
            self.journal.close(keep=False)

    def _end_last_segment(self) -> None:
        """End the current segment; its last packet extends to the end if that is in decoding time."""
        packets = self._packets_of_segment()
        if packets and self._codec.counts_decoding_time:
            last = packets[-1]
            first = packets[0].dts if self._first_dts is None else self._first_dts
            end = (last.dts or 0) - (first or 0)
            duration = max(last.duration, self._places.end - self._places.first - end)
            packets[-1] = replace(last, duration=duration)
        self._mux(packets)

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
        if self.journal is not None:
            self.journal.close(self._interrupted)
