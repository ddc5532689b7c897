"""Writer: frames and pictures into a video file, a folder of images or a pipe, whole or not at all.

::

    Frame ───────── as it is ───────────┐
                                        ├─> encoder ─> container ─> a partial file ─ success ─> name.mp4
    RGB (3, H, W) ─ float to Y'CbCr ────┘                  ▲                └─ failure ─> removed
                                             sound and subtitles up to this time

A new file has a temporary name beside the final one until it is complete (:mod:`tweenlet.runtime.atomic`).
"""

from __future__ import annotations

import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from tweenlet.runtime.atomic import MARK, Partial, atomic_write_many, check_free, check_writable_folder
from tweenlet.video.codecs import choose_codec
from tweenlet.video.container import system_error
from tweenlet.video.frame import Frame, fit, from_rgb
from tweenlet.video.headers import Y4MFile, complete_matroska, complete_mp4, padded
from tweenlet.video.images import ImageEncoder, is_image, list_images
from tweenlet.video.orientation import UPRIGHT
from tweenlet.video.reader import Reader
from tweenlet.video.static_areas import keep_still
from tweenlet.video.streams import Tracks, beside, copy_names, describe

Picture = Frame | NDArray[np.floating]
_FINEST = 2**31 - 1  # the largest denominator of a time base


class Writer(ABC):
    """Takes pictures in the order of their times; a context manager.

    Leaving it without an exception completes the output and gives it its name; leaving it with one removes
    all that was written. OSError (a full disk, say) is raised by :meth:`write` or on leaving.
    ``warnings`` says in words what of the source is not in the output; it is complete after leaving.
    """

    def write(
        self,
        picture: Picture,
        time: Fraction,
        duration: Fraction,
        between: tuple[Frame, Frame] | None = None,
    ) -> None:
        """Add a Frame or RGB (3, H, W) in [0, 1], shown from ``time`` for ``duration`` seconds.

        ``between``: the frames around a made picture. A video gets their codes where nothing moves; an image
        gets the tags (ICC profile, EXIF) of the first, or else those of the last frame written.
        """
        with self._explained():
            self._write(picture, time, duration, between)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            with self._explained():
                self._complete()
        except BaseException:
            self._discard()
            raise

    def __init__(self, name: str) -> None:
        self.name = name
        self.warnings: list[str] = []

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise system_error(error, f"cannot write {self.name}") from None

    @abstractmethod
    def _write(
        self, picture: Picture, time: Fraction, duration: Fraction, between: tuple[Frame, Frame] | None
    ) -> None: ...

    @abstractmethod
    def _complete(self) -> None: ...

    @abstractmethod
    def _discard(self) -> None: ...


class VideoWriter(Writer):
    """Pictures into one video file or into y4m on standard output."""

    def __init__(self, path: Path | None, name: str, like: Reader, rate: Fraction, sound: bool) -> None:
        super().__init__(name)
        rate = _representable(rate)
        codec = choose_codec(".y4m" if path is None else path.suffix, like)
        self._codec = codec
        self._orientation = like.orientation if codec.fixed_rate else UPRIGHT
        self._tracks: Tracks | None = None
        self._recent: list[tuple[Frame, av.VideoFrame]] = []
        self._pace = _Pace(name, rate) if codec.fixed_rate else None
        self._shown: dict[int, int] = {}  # pts -> duration of the pictures inside the encoder
        self._first = self._last = -1
        self._end = 0
        self._first_dts: int | None = None
        self._partial = None if path is None else Partial(path)
        self._sink: Y4MFile | None = None
        try:
            with self._explained():
                place = None if self._partial is None else self._partial.path
                if codec.fixed_rate and codec.completes_header:
                    self._sink = Y4MFile(place, codec.shape)
                self._output = av.open(
                    self._sink or ("pipe:1" if place is None else str(place)), "w",
                    format=codec.container, container_options=codec.container_options,
                )  # fmt: skip
        except BaseException:
            if self._partial is not None:
                self._partial.discard()
            raise
        try:
            self._stream = codec.add_to(self._output, like, rate)
            self._time_base = _time_base(like, rate, codec.fixed_rate)
            self._stream.codec_context.time_base = self._time_base
            if codec.fixed_rate:
                self.warnings += _left_out(like, name, sound)
            elif like.stream is not None:
                copy_names(cast(InputContainer, like.stream.container), self._output)
                if sound and like.place is not None and not like.place.is_pipe:
                    self._tracks = Tracks(like.place, self._output, like.stream.index, like.companions)
        except BaseException:
            self._discard()
            raise

    def _write(
        self, picture: Picture, time: Fraction, duration: Fraction, between: tuple[Frame, Frame] | None
    ) -> None:
        frame = self._fitted(picture) if isinstance(picture, Frame) else self._encoded(picture)
        if between is not None:
            keep_still(frame, *map(self._fitted, between))
        frame = padded(frame, self._codec.shape)
        if (frame.width, frame.height) != (self._stream.width, self._stream.height):
            width, height = self._codec.size
            raise ValueError(f"got a picture of {frame.width}x{frame.height}, expected {width}x{height}")
        frame.pict_type = 0
        frame.time_base = self._time_base
        frame.pts = max(round(time / self._time_base), self._last + 1)
        self._shown[frame.pts] = max(1, round(duration / self._time_base))
        self._first = frame.pts if self._last < 0 else self._first
        self._last, self._end = frame.pts, frame.pts + self._shown[frame.pts]
        if self._pace is not None:
            self._pace.count(time)
        self._mux(frame, time)

    def _fitted(self, frame: Frame) -> av.VideoFrame:
        """A frame as the encoder takes it; those of the last few are remembered."""
        for known, fitted in self._recent:
            if known is frame:
                return fitted
        if self._orientation != UPRIGHT:
            fitted = self._encoded(frame.rgb(clip=False))
        else:
            fitted = fit(frame.picture, self._codec.pixels, self._codec.colour)
        self._recent = [*self._recent[-1:], (frame, fitted)]
        return fitted

    def _encoded(self, rgb: NDArray[np.floating]) -> av.VideoFrame:
        return from_rgb(self._orientation.upright(rgb), self._codec.pixels, self._codec.colour)

    def _mux(self, frame: av.VideoFrame | None, time: Fraction) -> None:
        """Mux what the encoder gives, and before it what lies beside the pictures up to this time: timed text
        of .mp4 must come before a picture that is later.
        """
        packets = self._stream.encode(frame)
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._shown.pop(packet.pts, packet.duration)
            if self._first_dts is None:
                self._first_dts = packet.dts
        if frame is None and packets and self._codec.counts_decoding_time:
            end = (packets[-1].dts or 0) - (self._first_dts or 0)
            packets[-1].duration = max(packets[-1].duration or 0, self._end - self._first - end)
        if self._tracks is None:
            self._output.mux(packets)
        else:
            self._tracks.copy_until(time)
            self._tracks.mux(packets)

    def _complete(self) -> None:
        if self._last < 0:
            raise ValueError(f"no pictures were given for {self.name}")
        self._mux(None, self._end * self._time_base)
        if self._tracks is not None:
            self._tracks.copy_until(None)
            self.warnings += self._tracks.warnings
            self._tracks.close()
        if self._pace is not None:
            self.warnings += self._pace.warnings()
        self._output.close()
        if self._sink is not None:
            self._sink.close()
        if self._partial is not None:
            self._complete_header(self._partial.path)
            self._partial.commit()

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
        if self._tracks is not None:
            self._tracks.close()
        with suppress(av.FFmpegError):
            self._output.close()
        if self._sink is not None:
            with suppress(OSError):
                self._sink.close()
        if self._partial is not None:
            self._partial.discard()


class ImageWriter(Writer):
    """Pictures into numbered image files of one folder."""

    def __init__(
        self, folder: Path, pattern: str, name: str, like: Reader, rate: Fraction, sound: bool
    ) -> None:
        super().__init__(name)
        self._folder, self._pattern = folder, pattern
        self._encoder = ImageEncoder(Path(pattern).suffix, like.bits, like.orientation)
        self._partial = Partial(folder / "frames" if folder.is_dir() else folder, folder=True)
        self._count = 0
        self._before: Frame | None = None
        self._pace = _Pace(name, rate)
        self.warnings += _left_out(like, name, sound)

    def _write(
        self, picture: Picture, time: Fraction, _duration: Fraction, between: tuple[Frame, Frame] | None
    ) -> None:
        self._count += 1
        self._pace.count(time)
        target = self._partial.path / (self._pattern % self._count)
        if isinstance(picture, Frame):
            self._before = picture
        like = between or (() if self._before is None else (self._before,))
        self._encoder.write(picture, target, like)

    def _complete(self) -> None:
        if not self._count:
            raise ValueError(f"no pictures were given for {self.name}")
        self._folder.mkdir(exist_ok=True)
        for file in sorted(self._partial.path.iterdir()):
            if file.name != MARK:
                file.replace(self._folder / file.name)
        self._partial.discard()
        self.warnings += self._pace.warnings()

    def _discard(self) -> None:
        self._partial.discard()


class _Pace:
    """How far the times of pictures are from those of a fixed rate, in outputs that have no times."""

    def __init__(self, name: str, rate: Fraction) -> None:
        self._name, self._rate = name, rate
        self._first: Fraction | None = None
        self._count = 0
        self._off = Fraction(0)

    def count(self, time: Fraction) -> None:
        """Take the time of the next picture in seconds."""
        self._first = time if self._first is None else self._first
        self._off = max(self._off, abs(time - self._first - self._count / self._rate))
        self._count += 1

    def warnings(self) -> list[str]:
        """The loss in words, if it is more than the rounding of times explains."""
        if self._off * self._rate < Fraction(3, 2):
            return []
        return [
            f"{self._name} has no times, but those of the source vary: "
            f"at {float(self._rate):g} frames/s some pictures are up to {float(self._off):.2f} s off"
        ]


def _left_out(like: Reader, name: str, sound: bool) -> list[str]:
    """In words, what lies beside the pictures of a source that goes into an output of pictures only."""
    if like.stream is None or not sound:
        return []
    streams = beside(cast(InputContainer, like.stream.container), like.stream.index, like.companions)
    return [f"{name} holds pictures only: left out {', '.join(map(describe, streams))}"] if streams else []


def write(
    target: str | PathLike[str],
    like: Reader,
    rate: Fraction,
    *,
    overwrite: bool = False,
    sound: bool = True,
) -> Writer:
    """Open an output whose size, depth, colour tags, names and sound are those of ``like``.

    ``target`` is a video file (.mp4 .m4v .mov .mkv .webm .y4m), a folder for PNG images, a pattern such as
    ``out/%05d.jpg``, or ``"-"`` (y4m on stdout). ``rate`` is the frames per second that players are told;
    what counts are the times given with the pictures (y4m and images have none). ``sound=False`` leaves out
    sound, subtitles and chapters, as for times that were stretched.

    Raises FileExistsError where there is something already and not ``overwrite``, FileNotFoundError where the
    folder to write into is missing, ValueError for an unknown kind of file or an output that is the input.
    """
    name = str(target)
    if name == "-":
        if os.isatty(1):
            raise ValueError("standard output is a terminal: pipe it on, or name a file")
        return VideoWriter(None, "standard output", like, rate, sound)
    path = Path(target)
    if is_image(path):
        if not re.fullmatch(r"[^%]*%(0\d+)?d[^%]*", path.name):
            raise ValueError(f"{name} names a single image: number them, as in {path.with_stem('%05d')}")
        folder, pattern = path.parent, path.name
    elif path.suffix and not path.is_dir():
        check_free(path, overwrite, () if like.path is None else (like.path,))
        return VideoWriter(path, name, like, rate, sound)
    else:
        folder, pattern = path, "%05d.png"
    if like.path is not None and folder.exists() and like.path.is_dir() and folder.samefile(like.path):
        raise ValueError(f"the output {name} is the folder of the input: choose another")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file, not a folder for images")
    if folder.is_dir() and list_images(folder) and not overwrite:
        raise FileExistsError(f"{folder} holds images already: pass --overwrite to replace them")
    check_writable_folder(folder if folder.is_dir() else folder.absolute().parent)
    return ImageWriter(folder, pattern, name, like, rate, sound)


@contextmanager
def whole(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """As :func:`~tweenlet.runtime.atomic.atomic_write_many`, with errors of a full disk, say, in words."""
    try:
        with atomic_write_many(paths) as partials:
            yield partials
    except BlockingIOError:
        raise
    except OSError as error:
        raise system_error(error, f"cannot write {paths[0]}") from None


def _time_base(like: Reader, rate: Fraction, fixed_rate: bool) -> Fraction:
    """A unit of time in which the source's frames, eighths of them and the new rate are whole numbers; where
    that would be too fine for FFmpeg's 32 bits, one of about a microsecond.
    """
    if fixed_rate:
        return 1 / rate
    source = like.first.duration if like.stream is None else cast(Fraction, like.stream.time_base)
    unit = math.lcm((source / 8).denominator, rate.numerator)
    if unit <= _FINEST:
        return Fraction(1, unit)
    return Fraction(1, rate.numerator * max(1, 1_000_000 // rate.numerator))


def _representable(rate: Fraction) -> Fraction:
    """The rate nearest to one, of 32-bit numbers, as FFmpeg has them."""
    if rate > _FINEST:
        raise ValueError(f"expected a frame rate that can be written, got {float(rate):g}")
    return rate.limit_denominator(min(1_000_000, max(1, int(_FINEST / (rate + 1)))))
