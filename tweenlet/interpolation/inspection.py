"""Inspection: properties of a video before interpolation: rate, repeats, cuts, colours, tracks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

from av.container import InputContainer

from tweenlet import video
from tweenlet.interpolation.keyframes import LONGEST_RUN, KeyFrames, SourceFrame
from tweenlet.video.container import WHOLE, Clip
from tweenlet.video.streams import describe, side_streams

_NAMES = {
    "matrix": {1: "BT.709", 5: "BT.601", 6: "BT.601", 9: "BT.2020"},
    "transfer": {1: "BT.709", 13: "sRGB", 16: "PQ", 18: "HLG"},
    "range": {1: "limited", 2: "full"},
}  # fmt: skip
EVEN = Fraction(1, 500)
"""Largest difference between intervals of a constant rate, in seconds: containers round to milliseconds."""


@dataclass(frozen=True)
class Inspection:
    """Result of :func:`inspect`; times in seconds."""

    name: str
    width: int
    height: int
    bits: int
    pixels: str
    codec: str
    rate: Fraction | None
    """Average frames per second."""
    constant: bool
    """Whether the frame rate is constant."""
    frames: int
    duration: Fraction
    repeats: int
    """Number of frames that repeat the previous one."""
    longest_run: int
    """Longest run of frames that show one picture."""
    cuts: tuple[Fraction, ...]
    """Times at which scenes begin."""
    colours: dict[str, str]
    tracks: tuple[str, ...]
    """Descriptions of the other streams."""
    notices: tuple[video.Notice, ...]

    @property
    def advice(self) -> str:
        """Advice on repeats; empty if there are few."""
        if self.repeats < self.frames / 5 or self.longest_run > LONGEST_RUN:
            return ""
        return "pictures are often held: --repeats smooth moves through them"


def inspect(
    src: str | Path,
    *,
    stream: int | None = None,
    clip: Clip = WHOLE,
    progress: Callable[[int, int | None], None] | None = None,
) -> Inspection:
    """Read a video as interpolation would, and describe it.

    Args:
        src: a video, a folder or glob of images.
        stream: index of the video stream.
        clip: the part to read.
        progress: called after each frame with the number of frames and the estimated total.

    Raises:
        OSError, ValueError: those of :func:`tweenlet.interpolate_video`.

    """
    with video.read(src, stream=stream, clip=clip) as reader:
        durations: list[Fraction] = []

        def frames() -> Iterator[SourceFrame[None]]:
            for frame in reader:
                durations.append(frame.duration)
                yield SourceFrame(None, frame.rgb(), frame.time, frame.duration)
                if progress is not None:
                    progress(len(durations), reader.frame_count)

        keys, cuts, index, run, longest = KeyFrames(frames()), [], 0, 1, 1
        while keys.has(index + 1):
            key = keys.key_of(index)
            repeats = keys.key_of(index + 1) == key
            run = run + 1 if repeats else 1
            longest = max(longest, run)
            if not repeats and keys.is_cut(key):
                cuts.append(keys.frame(index + 1).time)
            index += 1
            keys.forget(index, key - 3)
        return _describe(reader, keys, durations, cuts, longest)


def _describe(
    reader: video.Reader,
    keys: KeyFrames[None],
    durations: list[Fraction],
    cuts: list[Fraction],
    longest: int,
) -> Inspection:
    tracks: tuple[str, ...] = ()
    if reader.stream is not None:
        container, own = cast(InputContainer, reader.stream.container), reader.stream.index
        tracks = tuple(map(describe, side_streams(container, own, reader.companions)))
        chapters = len(container.chapters())
        tracks += (f"{chapters} chapters",) if chapters else ()
    colour = reader.colour
    tags = {"matrix": colour.matrix, "transfer": colour.transfer, "range": colour.range}
    even = len(durations) < 3 or max(durations[:-1]) - min(durations[:-1]) <= EVEN
    return Inspection(
        name=reader.name, width=reader.width, height=reader.height, bits=reader.bits,
        pixels=reader.first.picture.format.name,
        codec="images" if reader.stream is None else reader.stream.codec_context.name,
        rate=reader.rate, constant=even, frames=len(durations), duration=sum(durations, Fraction(0)),
        repeats=keys.repeats, longest_run=longest, cuts=tuple(cuts),
        colours={name: _NAMES[name].get(tag, "untagged") for name, tag in tags.items()},
        tracks=tracks, notices=reader.notices,
    )  # fmt: skip
