"""Inspection: what is seen in a video before anything is made of it: rate, repeats, cuts, colours, tracks."""

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
"""Seconds by which intervals of a constant rate may differ: containers round to milliseconds."""


@dataclass(frozen=True)
class Inspection:
    """What :func:`inspect` sees; times in seconds."""

    name: str
    width: int
    height: int
    bits: int
    pixels: str
    codec: str
    rate: Fraction | None
    """Average frames per second."""
    constant: bool
    """Whether all frames are shown for the same time."""
    frames: int
    duration: Fraction
    repeats: int
    """Frames that repeat the one before."""
    longest_run: int
    """Frames for which one picture is shown at most."""
    cuts: tuple[Fraction, ...]
    """When a scene begins."""
    colours: dict[str, str]
    tracks: tuple[str, ...]
    """What lies beside the pictures."""
    notices: tuple[video.Notice, ...]

    @property
    def advice(self) -> str:
        """What the repeats suggest; empty without many."""
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
    """Read a video as interpolation would, and say what is there.

    Args:
        src: a video, a folder or glob of images.
        stream: index of the video stream.
        clip: the part that is read.
        progress: called after each frame with the number of frames and the estimated total.

    Raises:
        OSError, ValueError: as for :func:`tweenlet.interpolate_video`.

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
