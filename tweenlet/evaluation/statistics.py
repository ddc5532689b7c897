"""Statistics: how sure a mean is, and whether a difference is more than noise.

    values per sequence -> units, each a part of the mean -+-> drawn again and again --> interval
                                                           `-> signs turned at random -> p value

Frames of one clip resemble each other, so whole sequences are drawn, not frames: what is asked is what other
clips like these would have given. Fewer than :data:`FEW` sequences are cut into blocks of consecutive samples
(as long as the cube root of their number, which is usual for the block bootstrap, or shorter, for
:data:`ENOUGH` blocks), which answers for these clips only.
All random numbers are seeded: the same values give the same digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEW = 6
"""Sequences under which blocks of them are the units."""
ENOUGH = 8
"""Blocks that samples are cut into if there are so many."""
LEAST = 3
"""Units under which nothing can be said."""
LEVEL = 0.95
NOISE = 0.05
"""A p value from which on a difference counts as noise."""
_DRAWS = 10_000
_ALL_SIGNS = 13
"""Units up to which every way to turn the signs is tried (2^13)."""

Values = Sequence[Sequence[float]]
"""One number per sample, sequence by sequence, in the order of time."""


@dataclass(frozen=True)
class Difference:
    """How far a second method is from a first one on the same samples; all in the metric's own unit."""

    mean: float
    """First minus second."""
    interval: tuple[float, float] | None
    p: float
    """Of a difference at least so large, either way, if the two were equally good."""

    @property
    def noise(self) -> bool:
        """Whether it may be chance."""
        return self.p >= NOISE


def mean(values: Values, by_sequence: bool = False) -> float:
    """The mean over samples, or of the means per sequence; ValueError where there is no value."""
    sums, weights = _parts(values, by_sequence)
    return float(sums.sum() / weights.sum())


def interval(values: Values, by_sequence: bool = False) -> tuple[float, float] | None:
    """The 95 % interval of :func:`mean` by the percentile bootstrap; None for too few units.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; ValueError for no value.
    """
    sums, weights = _units(values, by_sequence)
    if (count := len(sums)) < LEAST:
        return None
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _DRAWS)
    low, high = np.quantile(drawn @ sums / (drawn @ weights), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def difference(first: Values, second: Values, by_sequence: bool = False) -> Difference:
    """First minus second, sample by sample, with a paired test: were they equal, each sign could be turned.

    The p value is that of the sign-flip permutation test, exact for up to 13 units; with fewer than six it
    cannot fall under 0.05. ValueError where the two do not pair.
    """
    if [len(a) for a in first] != [len(b) for b in second]:
        raise ValueError("expected as many values of the second as of the first in every sequence")
    values = [[x - y for x, y in zip(a, b, strict=True)] for a, b in zip(first, second, strict=True)]
    sums, _ = _units(values, by_sequence)
    count = len(sums)
    if count <= _ALL_SIGNS:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        signs = 1 - 2 * np.random.default_rng(0).integers(0, 2, (_DRAWS, count))
        signs[0] = 1  # what was seen is one of the ways
    p = float(np.mean(np.abs(signs @ sums) >= abs(sums.sum()) * (1 - 1e-9)))
    return Difference(mean(values, by_sequence), interval(values, by_sequence), p)


def unit_count(values: Values) -> int:
    """How many units the values make."""
    return len(_units(values, False)[0])


def unit_name(values: Values) -> str:
    """What the units are, in words: "9 sequences" or "12 blocks of samples"."""
    sequences = sum(1 for sequence in values if len(sequence))
    if sequences >= FEW:
        return f"{sequences} sequences"
    return f"{unit_count(values)} blocks of consecutive samples"


def _parts(values: Values, by_sequence: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each sequence's part of the sum, and of the weight that the sum is divided by."""
    arrays = [np.asarray(sequence, np.float64) for sequence in values if len(sequence)]
    if not arrays:
        raise ValueError("expected values, got none")
    weights = np.array([1.0 if by_sequence else len(array) for array in arrays])
    return np.array([array.mean() for array in arrays]) * weights, weights


def _units(values: Values, by_sequence: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As :func:`_parts`, of the sequences, or where these are few of their blocks."""
    sequences = [sequence for sequence in values if len(sequence)]
    if len(sequences) >= FEW:
        return _parts(sequences, by_sequence)
    sums, weights = [], []
    longest = max(1, sum(map(len, sequences)) // ENOUGH)
    for sequence in sequences:
        length = min(longest, math.ceil(len(sequence) ** (1 / 3) - 1e-9))
        blocks = [sequence[start : start + length] for start in range(0, len(sequence), length)]
        share = 1 / len(sequence) if by_sequence else 1.0
        sums += [sum(block) * share for block in blocks]
        weights += [len(block) * share for block in blocks]
    if not sums:
        raise ValueError("expected values, got none")
    return np.array(sums), np.array(weights)
