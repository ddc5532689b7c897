"""Reader: an open source as a stream of frames, with its size, depth, colours, times and notices."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av

from tweenlet.video.colour import UNSPECIFIED, Colour, bits_of, is_gray, is_rgb
from tweenlet.video.container import (
    WHOLE,
    Clip,
    Location,
)
from tweenlet.video.frame import Frame
from tweenlet.video.light import SRGB
from tweenlet.video.notices import Notice, Notices
from tweenlet.video.opacity import can_be_transparent
from tweenlet.video.orientation import Orientation


class Reader:
    """A stream of frames: a context manager, and an iterable that can be iterated once.

    Iterating raises ValueError if a frame differs in size from the first and, for a strict source, if it is
    damaged or truncated.

    Attributes:
        name: name of the source in messages.
        width, height: size in pixels.
        bits: bits per component: 8, 9, 10, 12, 14 or 16.
        rate: average frames per second; None for images without a rate.
        frame_count: estimated number of frames, or None.
        duration: duration in seconds, or None.
        colour: the colour tags of the frames.
        orientation: rotation and mirroring of the frames for display.
        first: the first frame.
        path: the video file or the folder of images; None for a pipe.
        location: location to open again for the audio; None for images.
        stream: the decoded stream; None for images.
        companions: indices of the streams of the same programme.
        clip: the part of the file to read, from the time of its first frame on.

    """

    def __init__(
        self,
        name: str,
        first: Frame,
        frames: Iterator[Frame],
        notices: Notices,
        *,
        location: Location | None = None,
        path: Path | None = None,
        rate: Fraction | None = None,
        frame_count: int | None = None,
        duration: Fraction | None = None,
        stream: av.VideoStream | None = None,
        companions: frozenset[int] = frozenset(),
        clip: Clip = WHOLE,
    ) -> None:
        self.name, self.location, self.path, self.first = name, location, path, first
        self.width, self.height = first.picture.width, first.picture.height
        self.bits = bits_of(first.picture.format)
        self.colour = Colour.of(first.picture)
        self.orientation = Orientation.of(first.picture)
        self.rate, self.frame_count, self.duration = rate, frame_count, duration
        self.stream, self.companions, self.clip = stream, companions, clip
        self._frames, self._notices = frames, notices

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    @property
    def is_transparent(self) -> bool:
        """Whether its pictures have colour and may be transparent."""
        return can_be_transparent(self.first.picture) and not is_gray(self.first.picture.format)

    @property
    def transfer(self) -> int:
        """The AVColorTransferCharacteristic of its pictures; sRGB for untagged RGB."""
        tagged = self.colour.transfer
        return SRGB if tagged == UNSPECIFIED and is_rgb(self.first.picture.format) else tagged

    def ignore(self, kind: str) -> None:
        """Ignore notices of a kind from now on."""
        self._notices.ignored.add(kind)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Notices from the frames read so far, within the clip, with the file's times."""
        return tuple(notice for notice in self._notices.all() if self._concerns(notice))

    def _concerns(self, notice: Notice) -> bool:
        start, end = self.clip.start, self.clip.end
        before = notice.end is not None and notice.end <= start and start > 0
        return not before and (end is None or notice.start is None or notice.start < end)

    def close(self) -> None:
        """Close the file; frames read so far stay valid."""
        if self.stream is not None:
            self.stream.container.close()
