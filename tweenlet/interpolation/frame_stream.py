"""Frame stream: a reader's frames as source frames of a timeline, with those to remake marked, and the first
ones repeated at the end of a loop.

    reader    0  1  2  3  4
    remake          2               the third is interpolated from its neighbours
    loop      0  1  2  3  4 │ 0  1  the last interval leads back to 0, which is not shown again
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

from tweenlet.interpolation.keyframes import LONGEST_RUN, SourceFrame
from tweenlet.interpolation.prefetch import DeviceCopier
from tweenlet.video.frame import Frame

ENCORES = 2
"""Frames repeated after a loop's last: the first, and one more as context for the network."""


def stream_frames(
    frames: Iterable[Frame],
    copier: DeviceCopier,
    remake: Container[int] = (),
    loop: bool = False,
    alpha: bool = False,
    first_number: int = 0,
) -> Iterator[SourceFrame[Frame]]:
    """Convert decoded frames to source frames of a timeline.

    Args:
        frames: decoded frames.
        copier: copies their pictures to the network's device.
        remake: numbers of the frames to remake, counted from 0.
        loop: whether the last frame leads back to the first.
        alpha: whether pictures have opacity as a fourth channel.
        first_number: number of the first frame.

    """
    first: list[SourceFrame[Frame]] = []
    end = Fraction(0)
    for number, frame in enumerate(frames, first_number):
        values = frame.rgba(clip=False) if alpha else frame.rgb(clip=False)
        picture = copier.to_device(values)
        source = SourceFrame(frame, picture, frame.time, frame.duration, number in remake)
        if loop and len(first) < ENCORES:
            first.append(source)
        end = source.time + source.duration
        yield source
    if len(first) == ENCORES:
        for source in first:
            yield replace(source, time=end, encore=True)
            end += source.duration


def parse_numbers(text: str) -> frozenset[int]:
    """Parse frame numbers such as "117,240-243".

    Raises:
        ValueError: any other text, frame 0, which has no frame before it, or a run too long to interpolate.

    """
    numbers: set[int] = set()
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", part)
        if ends is None:
            raise ValueError(f"expected numbers of frames such as 117,240-243, got {text}")
        first, last = int(ends[1]), int(ends[2] or ends[1])
        if first < 1 or last < first or last - first >= LONGEST_RUN:
            raise ValueError(
                f"expected frames from 1 on, up to {LONGEST_RUN - 1} in a row (the first is 0), got {part}"
            )
        numbers |= set(range(first, last + 1))
    if any(numbers >= set(range(n, n + LONGEST_RUN)) for n in numbers):
        raise ValueError(f"at most {LONGEST_RUN - 1} frames in a row can be remade, got {text}")
    return frozenset(numbers)


def find_unmade(remake: Collection[int], count: int, loop: bool) -> list[str]:
    """Warnings about frames that could not be remade in a source of ``count`` frames."""
    good = max((number for number in range(count) if number not in remake), default=0)
    last = [] if loop else list(range(good + 1, count))
    held = f"no frame follows {', '.join(map(str, last))} to remake from: the one before is held"
    beyond = f"not all frames to be remade are there: the last one is {count - 1}"
    return [held] * bool(last) + [beyond] * any(number >= count for number in remake)
