"""Reel: the few frames of a stream around now, real ones and those made between them.

A position is a Fraction in units of real frames: 7 is real frame 7, 7 + 3/8 lies between frames 7 and 8 at
level 3. A frame of level l is made from four of the level below it, spaced 2/2^l, itself in the middle:

    level 0   0───────1───────2───────3───────4
    level 1       ½               2½                 2½ from 1, 2, 3, 4
    level 2                     2¼                   2¼ from 1½, 2, 2½, 3

The outer frames of a scene stand for those beyond it. This is what doubling the whole stream again and
again gives, but only the frames that are asked for, and those they rest on, are made; each is made once and
dropped when no later one can need it. At most 7 real frames, and 3 made ones a level, are held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from math import ceil, floor
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tweenlet.video import scene_detection

Real = TypeVar("Real")


class Reel(Generic[Real]):
    """A single pass over a stream of real frames of any kind.

    Args:
        frames: the stream; frames are taken from it only when a position needs them (three ahead at most).
        picture: gives a real frame as a tensor (3, H, W); called once a frame, and only where one is needed.
        middle: makes the frame between the second and the third of four pictures.
        cuts: whether cuts between scenes are looked for; if not, the whole stream is one scene.

    """

    def __init__(
        self,
        frames: Iterable[Real],
        picture: Callable[[Real], Tensor],
        middle: Callable[[Sequence[Tensor]], Tensor],
        cuts: bool = True,
    ) -> None:
        self._source: Iterator[Real] = iter(frames)
        self._picture, self._middle, self._look_for_cuts = picture, middle, cuts
        self._ended = False
        self._reals: dict[int, Real] = {}
        self._pictures: dict[Fraction, Tensor] = {}
        self._thumbnails: dict[int, NDArray[np.float32]] = {}
        self._changes: dict[int, scene_detection.Change] = {}
        self._cut_after: dict[int, bool] = {}
        self._shape: Any = None
        self.taken = 0
        """Real frames taken from the stream so far."""
        self.made = 0
        """Frames made so far."""
        self.cuts = 0
        """Cuts met so far."""

    def has(self, index: int) -> bool:
        """Whether the stream reaches real frame `index`; takes frames up to it."""
        while not self._ended and self.taken <= index:
            try:
                self._reals[self.taken] = next(self._source)
                self.taken += 1
            except StopIteration:
                self._ended = True
        return index < self.taken

    def real(self, index: int) -> Real:
        """Real frame `index`, as it came; IndexError beyond the end, KeyError far behind the last
        position.
        """
        if not self.has(index):
            raise IndexError(f"the stream ends after {self.taken} frames, frame {index} was asked for")
        return self._reals[index]

    def at(self, position: Fraction) -> Real | Tensor:
        """The frame at a position: a real frame itself, or a picture made.

        Across a cut it is the nearer real frame, the earlier of two as near. Positions must not go backwards.
        """
        self._forget(position)
        index = floor(position)
        if position == index:
            return self.real(index)
        self.real(index + 1)
        if self._is_cut(index):
            return self.real(index if position - index <= Fraction(1, 2) else index + 1)
        return self._made(position)

    def __len__(self) -> int:
        """How many pictures, real and made, are held now."""
        return len(self._reals.keys() | self._pictures.keys())

    def _made(self, position: Fraction) -> Tensor:
        if position not in self._pictures:
            if position.denominator == 1:
                self._pictures[position] = self._checked(int(position))
            else:
                step = Fraction(1, position.denominator)
                four = [self._made(self._within_scene(position + k * step, position)) for k in (-3, -1, 1, 3)]
                self._pictures[position] = self._middle(four)
                self.made += 1
        return self._pictures[position]

    def _checked(self, index: int) -> Tensor:
        picture = self._picture(self._reals[index])
        if self._shape is None:
            self._shape = picture.shape
        if picture.shape != self._shape:
            (_, h, w), (_, height, width) = picture.shape, self._shape
            raise ValueError(f"frame {index} is {w}x{h}, the frames before it are {width}x{height}")
        return picture

    def _within_scene(self, wanted: Fraction, origin: Fraction) -> Fraction:
        """The position nearest to `wanted` that lies in the scene of `origin`."""
        low, high = floor(origin), ceil(origin)
        while low > wanted and low > 0 and not self._is_cut(low - 1):
            low -= 1
        while high < wanted and self.has(high + 1) and not self._is_cut(high):
            high += 1
        return min(max(wanted, Fraction(low)), Fraction(high))

    def _is_cut(self, index: int) -> bool:
        """Whether real frame `index` is the last of its scene, another following."""
        if not self._look_for_cuts:
            return False
        if index not in self._cut_after:
            before = self._change(index - 1) if index > 0 else None
            after = self._change(index + 1) if self.has(index + 2) else None
            self._cut_after[index] = scene_detection.is_cut(self._change(index), before, after)
            self.cuts += self._cut_after[index]
        return self._cut_after[index]

    def _change(self, index: int) -> scene_detection.Change:
        if index not in self._changes:
            for i in (index, index + 1):
                if i not in self._thumbnails:
                    self._thumbnails[i] = scene_detection.thumbnail(self._made(Fraction(i)))
            self._changes[index] = scene_detection.change(
                self._thumbnails[index], self._thumbnails[index + 1]
            )
        return self._changes[index]

    def _forget(self, position: Fraction) -> None:
        """Drop what no frame at or after the position rests on: a frame of level l reaches less than
        3/2^l ahead.
        """
        oldest = floor(position) - 3
        self._pictures = {
            p: x for p, x in self._pictures.items() if p > position - Fraction(3, p.denominator)
        }
        self._reals = {i: x for i, x in self._reals.items() if i > oldest}
        for known in (self._thumbnails, self._changes, self._cut_after):
            for i in [i for i in known if i < oldest]:
                del known[i]
