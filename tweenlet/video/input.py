"""Input: opens any source as a stream of frames, in constant memory.

::

    video file ─┐
    "-", URL ───┼─> container ─> Decoder ─> times ─┐
    folder ─────┤                                  ├─> one frame held back ─> Frame(time, duration, picture)
    glob, list ─┴─> files ─────────────── decode ──┘      (its duration is known when the next one comes)
                                             └─ damage, gaps, losses ─> Reader.notices
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from math import ceil
from os import PathLike
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer

from tweenlet.video.colour import has_alpha
from tweenlet.video.container import (
    WHOLE,
    Clip,
    Location,
    film_candidates,
    is_url,
    locate,
    open_container,
)
from tweenlet.video.decoder import Decoder
from tweenlet.video.deinterlacing import deinterlace as deinterlace_frames
from tweenlet.video.frame import Frame
from tweenlet.video.frame_times import IMAGE_RATE, FrameTimes
from tweenlet.video.images import decode_image, gaps_in_numbers, is_animated, is_glob, is_image, list_images
from tweenlet.video.notices import Notice, Notices
from tweenlet.video.opacity import can_be_transparent, read_alpha
from tweenlet.video.programmes import find_companions
from tweenlet.video.rates import Stated, usual_rate, usual_step
from tweenlet.video.reader import Reader

_MET = Fraction(1, 2000)  # tolerance in seconds: containers round to milliseconds
_NO_ALPHA = "transparency is left out: ProRes (.mov), VP9 (.webm), FFV1 (--codec ffv1) and PNG keep it"

Source = str | PathLike[str] | Sequence[str | PathLike[str]]


def read(
    source: Source,
    rate: Fraction | None = None,
    *,
    stream: int | None = None,
    strict: bool = False,
    clip: Clip = WHOLE,
    deinterlace: bool = False,
) -> Reader:
    """Open a video file, a URL, a folder or glob of images, a list of images, or ``"-"`` (a pipe on stdin).

    Args:
        source: an existing file of this name, whatever characters are in it; else a glob, or a URL of the
            form scheme://...
        rate: frames per second of images, which are read in natural order (2 before 10); default: IMAGE_RATE.
        stream: index of the video stream among all streams; default: the default stream, or the largest that
            has frames.
        strict: raise ValueError for damage and a missing end, which are otherwise notices.
        clip: the part to read; times count from its first frame.
        deinterlace: make one picture of every two fields.

    Raises:
        FileNotFoundError: the source does not exist.
        ValueError: it is no video, has no video stream or no frames, or is damaged and ``strict``.

    """
    if not isinstance(source, (str, PathLike)):
        return _read_images([Path(p) for p in source], "the list of images", rate, strict, clip)
    path = Path(source)
    if path.is_dir() or (is_glob(path) and not is_url(str(source))):
        return _read_images(list_images(path), str(source), rate, strict, clip)
    if is_image(path) and path.exists() and not is_animated(path):
        return _read_images([path], str(source), rate, strict, clip)
    return _read_video(locate(source), stream, strict, clip, deinterlace, rate or IMAGE_RATE)


def _read_images(paths: list[Path], name: str, rate: Fraction | None, strict: bool, clip: Clip) -> Reader:
    if not paths:
        raise ValueError(f"{name} holds no images (PNG, JPEG, TIFF or WebP)")
    duration = 1 / (rate or IMAGE_RATE)
    last = None if clip.end is None else ceil(clip.end / duration - _MET)
    paths = paths[max(0, ceil(clip.start / duration - _MET)) : last]
    if not paths:
        raise ValueError(_no_frames_in(clip, name))
    notices = Notices(name, strict)
    for index, before, after in gaps_in_numbers(paths):
        reason = f"no images between {before} and {after}, which are taken to follow each other"
        notices.add(Notice("gap", reason, (index - 1) * duration, index * duration))

    def frames() -> Iterator[Frame]:
        frame = first
        for i, path in enumerate(paths):
            time = i * duration
            try:
                frame = first if i == 0 else Frame(time, duration, decode_image(path), path)
            except ValueError:
                notices.add(Notice("missing", f"{path.name} cannot be read", time, time + duration))
                frame = replace(frame, time=time)  # repeat the previous one
            _check_same_size(frame.picture, first.picture, str(path), str(paths[0]))
            if frame.picture.is_corrupt:
                notices.add(Notice("damaged", f"{path.name} has errors", time, time + duration))
            _note_kind(frame.picture, notices)
            yield frame

    first = Frame(Fraction(0), duration, decode_image(paths[0]), paths[0])
    total = None if rate is None else len(paths) * duration
    return Reader(
        name, first, frames(), notices,
        path=paths[0].parent, rate=rate, frame_count=len(paths), duration=total,
    )  # fmt: skip


def _no_frames_in(clip: Clip, name: str) -> str:
    end = "its end" if clip.end is None else f"{float(clip.end):g} s"
    return f"{name} has no frames from {float(clip.start):g} s to {end}"


def _read_video(
    location: Location,
    index: int | None,
    strict: bool,
    clip: Clip,
    deinterlace: bool,
    image_rate: Fraction,
) -> Reader:
    """The main video of a file: its likeliest video stream with several pictures, else with one."""
    container = open_container(location, image_rate)
    try:
        candidates = [stream.index for stream in film_candidates(container, location.name, index)]
    except ValueError:
        container.close()
        raise
    still: int | None = None
    for candidate in candidates[:1] if location.pipe else candidates:
        if candidate != candidates[0]:
            container = open_container(location)
        reader, several = _read_stream(container, candidate, location, strict, clip, deinterlace)
        if reader is not None and (several or len(candidates) == 1 or location.pipe):
            return reader
        container.close()
        still = candidate if still is None and reader is not None else still
    reader = None
    if still is not None:
        reader = _read_stream(open_container(location), still, location, strict, clip, deinterlace)[0]
    if reader is None and location.pipe is not None and container.format.name.startswith("mov"):
        raise ValueError(f"{location.name} is an MP4 whose index comes last: it takes a file, not a pipe")
    if reader is None:
        raise ValueError(f"{location.name} holds no frames that can be decoded")
    return reader


def _read_stream(
    container: InputContainer,
    index: int,
    location: Location,
    strict: bool,
    clip: Clip,
    deinterlace: bool = False,
    seek: bool = True,
) -> tuple[Reader | None, bool]:
    """A reader of one stream, None if it has no pictures; and whether it has several packets."""
    stream = cast(av.VideoStream, container.streams[index])
    notices = Notices(location.name, strict)
    stated = Stated.of(container, stream)
    try:
        moved = seek and location.pipe is None and clip.seek(container, stream)
        decoder = Decoder(container, stream)
        step = usual_step(decoder.ahead)
        rate = usual_rate(stream, step)
        usual = step or 1 / (rate or IMAGE_RATE)
        times = FrameTimes(container, stream, decoder, usual, notices, stated=stated, location=location)
        frames = iter(times)
        first = next(frames, None)
        if moved and (
            first is None or first.time > clip.start
        ):  # the index is wrong, or the source has ended
            container.close()
            again = open_container(location)
            return _read_stream(again, index, location, strict, clip, deinterlace, seek=False)
        if first is not None and deinterlace:
            frames = deinterlace_frames(chain([first], frames))
            first = next(frames, None)
        if first is not None and clip != WHOLE:
            frames = _within(clip, chain([first], frames))
            first = next(frames, None)
            if first is None:
                raise ValueError(_no_frames_in(clip, location.name))
    except BaseException:
        container.close()
        raise
    if first is None:
        return None, False
    start = first.time if clip.start else Fraction(0)
    if start:
        frames = (replace(frame, time=frame.time - start) for frame in frames)
        first = replace(first, time=Fraction(0))
    end = stated.estimated_end
    duration = None if end is None else end - stated.start - start - first.time
    if clip.end is not None:
        duration = clip.end - start if duration is None else min(duration, clip.end - start)
    if location.pipe is not None and any(s.type in ("audio", "subtitle") for s in container.streams):
        reason = "sound and subtitles of a pipe are left out: they take a second reading"
        notices.add(Notice("sound", reason))
    if decoder.has_alpha and not has_alpha(first.picture.format):
        notices.add(Notice("alpha", _NO_ALPHA))
    own = find_companions(container, stream, location.path)
    if len(own) < len(container.streams):
        notices.add(Notice("programme", "the streams of the other programmes are left out"))
    reader = Reader(
        location.name, first, _check_frames(first, frames, location.name, notices), notices,
        location=location, path=location.path, rate=rate or 1 / first.duration,
        frame_count=_frame_count(stream, duration, rate, clip), duration=duration, stream=stream,
        companions=own, clip=clip if clip == WHOLE else Clip(start, clip.end),
    )  # fmt: skip
    return reader, decoder.several


def _within(clip: Clip, frames: Iterator[Frame]) -> Iterator[Frame]:
    """The frames of a clip, with their original times."""
    for frame in frames:
        if clip.end is not None and frame.time >= clip.end - _MET:
            return
        if frame.time >= clip.start - _MET:
            yield frame


def _frame_count(
    stream: av.VideoStream, duration: Fraction | None, rate: Fraction | None, clip: Clip
) -> int | None:
    average = stream.average_rate or rate
    if clip != WHOLE and duration is not None and average is not None:
        return max(1, round(duration * average))
    if stream.frames or duration is None or average is None:
        return stream.frames or None
    return round(duration * min(average, rate or average))


def _check_frames(first: Frame, frames: Iterator[Frame], name: str, notices: Notices) -> Iterator[Frame]:
    for frame in chain([first], frames):
        time = f"{float(frame.time):.2f}"
        advice = f"; --from and --to (start, end) take the parts before and after {time} s by themselves"
        _check_same_size(frame.picture, first.picture, f"{name} at {time} s", "its first frame", advice)
        _note_kind(frame.picture, notices)
        yield frame


def _note_kind(picture: av.VideoFrame, notices: Notices) -> None:
    """Note once that pictures have opacity or fields, which new frames will not have."""
    if picture.interlaced_frame and "interlaced" not in notices:
        reason = "the pictures are interlaced, and their two fields are taken as one frame: see deinterlace"
        notices.add(Notice("interlaced", reason))
    if "alpha" not in notices and _is_transparent(picture):
        notices.add(Notice("alpha", _NO_ALPHA))


def _is_transparent(picture: av.VideoFrame) -> bool:
    return can_be_transparent(picture) and bool(read_alpha(picture).min() < 1)


def _check_same_size(
    picture: av.VideoFrame, first: av.VideoFrame, name: str, first_name: str, advice: str = ""
) -> None:
    if (picture.width, picture.height) != (first.width, first.height):
        raise ValueError(
            f"{name} is {picture.width}x{picture.height}, but {first_name} is {first.width}x{first.height}: "
            f"all frames must be of one size{advice}"
        )
