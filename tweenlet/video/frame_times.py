"""Frame times: decoded pictures to frames with exact times and durations, and notices of gaps.

::

    pictures   0   1   2   .   .   5   6   │ 3600   3601        the file states an end at 12 s
    frames     0   1   2───────────5   6   │ 7      8───        from 9 s on: missing
                       from 3 to 5:        the clock jumps: ignored
                       missing, if packets were lost there
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import av
from av.container import InputContainer

from tweenlet.video.container import Location
from tweenlet.video.decoder import DecodedPicture, Decoder
from tweenlet.video.frame import Frame
from tweenlet.video.notices import Notice, Notices
from tweenlet.video.rates import Stated

IMAGE_RATE = Fraction(24)
"""Default frame rate where nothing else is known."""
_WIDE = Fraction(3, 2)  # largest gap between pictures, in usual steps
_SECOND = Fraction(1)
_BACK = Fraction(1, 2)  # seconds back: a clock reset, not pictures out of order
_CATCH_UP = Fraction(1, 2)  # usual steps from a picture to one whose timestamp lies before it
_BEYOND = 10  # seconds beyond the end that the file states
_LONGEST = 24 * 3600  # seconds between two pictures, where the file states no end


class FrameTimes:
    """The frames of one video stream, each held back until its duration is known; to be iterated once.

    ``start`` is the origin of frame and sound times, in seconds of the file's clock.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: av.VideoStream,
        decoder: Decoder,
        step: Fraction,
        notices: Notices,
        *,
        stated: Stated,
        location: Location,
    ) -> None:
        """``step``: usual seconds between pictures."""
        self.start = stated.start
        self._container, self._stream, self._decoder = container, stream, decoder
        self._step, self._notices, self._location = step, notices, location
        self._shift = -self.start  # from the file's clock to times of frames
        self._stated_end, self._limit = stated.end, stated.file_end
        self._count = self._pauses = 0
        self._was_damaged = False

    def __iter__(self) -> Iterator[Frame]:
        previous: Frame | None = None
        for picture in self._decoder:
            time = self._time_of(picture, previous)
            if previous is None:
                self._note_start(picture, time)
            else:
                self._note_gap(picture, previous.time, time)
                yield replace(previous, duration=time - previous.time)
            if picture.damaged:
                reason = "pictures have errors, or rest on some that have"
                self._notices.add(Notice("damaged", reason, time, time + self._step))
            frame = picture.frame
            duration = frame.duration * (frame.time_base or 0) if frame.duration else self._step
            previous = Frame(time, Fraction(duration), frame)
            self._was_damaged = picture.damaged
            self._count += 1
        if previous is not None:
            yield self._finish(previous)

    def _time_of(self, picture: DecodedPicture, previous: Frame | None) -> Fraction:
        """Time of a picture: later than the previous one, whatever its timestamp."""
        if previous is None:
            return Fraction(0) if picture.time is None else picture.time + self._shift
        if picture.time is None:
            return previous.time + previous.duration
        time, following = picture.time + self._shift, previous.time + self._step
        plain = picture.time - self.start
        is_near = previous.time < plain <= previous.time + max(10 * self._step, _SECOND)
        if is_near and plain < time:  # the clock is right again
            self._shift = -self.start
            return plain
        if previous.time < time and not self._is_jump(previous.time, time):
            return time
        if is_near:
            self._shift = -self.start
            return plain
        if previous.time - _BACK < time <= previous.time:  # behind: soon its times are right again
            return previous.time + _CATCH_UP * self._step
        self._shift = following - picture.time
        reason = f"the clock jumps to {float(picture.time):.2f} s; times are counted on from the frame before"
        self._notices.add(Notice("clock", reason, following, following))
        return following

    def _is_jump(self, before: Fraction, time: Fraction) -> bool:
        if self._limit is None:
            return time - before > _LONGEST
        return time - before > _BEYOND and time - self._shift > self._limit + _BEYOND

    def _note_start(self, picture: DecodedPicture, time: Fraction) -> None:
        if picture.lost is None:
            return
        lost = picture.lost + self._shift
        if self._decoder.starts_with_key and picture.hurt:
            self._notices.add(Notice("missing", "pictures cannot be decoded", lost, time))
        elif not self._decoder.starts_with_key:
            self._notices.add(Notice("late", "the first pictures rest on some before the file", lost, time))

    def _note_gap(self, picture: DecodedPicture, before: Fraction, time: Fraction) -> None:
        gap = time - before - picture.repeats * self._step
        if gap <= _WIDE * self._step:
            return
        self._pauses += 1
        end = before + self._step
        certain = picture.hurt or picture.lost is not None or self._was_damaged
        if certain or self._container.format.name == "ogg":  # where every picture has its packet
            self._notices.add(Notice("missing", "pictures cannot be decoded", end, time))
        elif (
            gap >= max(10 * self._step, _SECOND)
            and self._pauses <= 1 + self._count // 100
            and self._count >= 24
        ):
            self._notices.add(Notice("gap", "the file has no pictures there", end, time))

    def _finish(self, last: Frame) -> Frame:
        """The last frame, up to the end that the file states if that is near; gaps are noted.

        (MP4 stores durations in decoding order only.)
        """
        end_shown = last.time + last.duration
        lost = [time + self._shift for time in self._decoder.lost if time + self._shift > last.time]
        stated = self._stated_end
        end = None if stated is None or self._shift != -self.start else stated + self._shift
        if lost and not self._decoder.cut:
            self._note_missing(
                "pictures cannot be decoded",
                end_shown,
                max([t + self._step for t in lost] + [end or end_shown]),
            )
            return last
        if self._decoder.cut or self._location.is_truncated():
            if end is None or end > end_shown + self._step / 2:
                self._note_missing("the file is cut short", end_shown, end or self._file_end(end_shown))
            return last
        if end is None:
            return self._check_file_end(last, end_shown)
        complete = 0 < self._stream.frames <= self._decoder.count
        if end - end_shown <= self._tolerance(end_shown) or complete:
            return replace(last, duration=max(end - last.time, last.duration))
        self._note_missing("the file states a later end", end_shown, end)
        return last

    def _check_file_end(self, last: Frame, end_shown: Fraction) -> Frame:
        """If nothing is stated about the stream alone, check that no stream ends early."""
        end = self._file_end(end_shown)
        reach = self._decoder.reach - self.start
        if end is not None and end - max(reach, end_shown) > self._tolerance(end_shown):
            self._note_missing("the file states a later end", end_shown, end)
        return last

    def _file_end(self, end_shown: Fraction) -> Fraction | None:
        if self._limit is None or self._shift != -self.start:
            return None
        return self._limit - self.start if self._limit - self.start > end_shown + self._step / 2 else None

    def _tolerance(self, end_shown: Fraction) -> Fraction:
        return max(end_shown / 20, 4 * self._step)

    def _note_missing(self, reason: str, start: Fraction, end: Fraction | None) -> None:
        self._notices.add(Notice("missing", reason, start, end))
