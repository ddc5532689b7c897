"""Statistics: confidence intervals of means, and significance tests of differences.

    values per sequence -> units, each a part of the mean -+-> drawn again and again --> interval
                                                           `-> signs turned at random -> p value

Frames of one clip resemble each other, so whole sequences are drawn, not frames: what is asked is what other
clips like these would have given. Fewer than :data:`FEW` sequences are cut into blocks of consecutive
samples, as long as makes them about independent; what comes out then is about these clips only.
All random numbers are seeded: the same values give the same digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

FEW = 6
"""Sequences under which blocks of them are the units, and units under which nothing can be said."""
LEVEL = 0.95
NOISE = 0.05
"""A p value from which on a difference counts as noise."""
_DRAWS = 10_000
_ALL_SIGNS = 13
"""Units up to which every way to turn the signs is tried (2^13)."""
_HIGHEST = 0.95
"""Of the correlation of one sample with the next: no more is believed."""

Values = Sequence[Sequence[float]]
"""One number per sample, sequence by sequence, in the order of time."""


@dataclass(frozen=True)
class Difference:
    """How far a second method is from a first one on the same samples; all in the metric's own unit."""

    mean: float
    """First minus second."""
    interval: tuple[float, float] | None
    """None where there are too few units to say."""
    p: float | None
    """Of a difference at least so large, either way, if the two were equally good; None as above."""

    @property
    def sure(self) -> bool:
        """Whether it is more than chance would give."""
        return self.p is not None and self.p < NOISE


def mean(values: Values, by_sequence: bool = False) -> float:
    """The mean over samples, or of the means per sequence; ValueError where there is no value."""
    sums, weights = _parts(values, by_sequence)
    return float(sums.sum() / weights.sum())


def interval(values: Values, by_sequence: bool = False) -> tuple[float, float] | None:
    """The 95 % interval of :func:`mean`; None for fewer than six units. ValueError for no value.

    The percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13),
    widened as the t distribution asks of so few units (Hesterberg, What Teachers Should Know About the
    Bootstrap, 2015, "expanded percentile interval").
    """
    sums, weights = _units(values, by_sequence)
    if (count := len(sums)) < FEW:
        return None
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _DRAWS)
    middle = sums.sum() / weights.sum()
    tail = NormalDist().cdf(-_t(count - 1) * math.sqrt(count / (count - 1)))
    low, high = np.quantile(draws @ sums / (draws @ weights), [tail, 1 - tail])
    return min(float(low), float(middle)), max(float(high), float(middle))


def difference(first: Values, second: Values, by_sequence: bool = False) -> Difference:
    """First minus second, sample by sample, with a paired test: were they equal, each sign could be turned.

    The p value is that of the sign-flip permutation test over the units, exact for up to 13 of them.
    ValueError where the two do not pair.
    """
    if [len(a) for a in first] != [len(b) for b in second]:
        raise ValueError("expected as many values of the second as of the first in every sequence")
    values = [[x - y for x, y in zip(a, b, strict=True)] for a, b in zip(first, second, strict=True)]
    sums, _ = _units(values, by_sequence)
    if (count := len(sums)) < FEW:
        return Difference(mean(values, by_sequence), None, None)
    if count <= _ALL_SIGNS:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        signs = 1 - 2 * np.random.default_rng(0).integers(0, 2, (_DRAWS, count))
        signs[0] = 1  # what was seen is one of the ways
    p = float(np.mean(np.abs(signs @ sums) >= abs(sums.sum()) * (1 - 1e-9)))
    return Difference(mean(values, by_sequence), interval(values, by_sequence), p)


def unit_name(values: Values) -> str:
    """What is drawn, in words: "9 sequences", or "blocks of consecutive samples"."""
    sequences = sum(1 for sequence in values if len(sequence))
    return f"{sequences} sequences" if sequences >= FEW else "blocks of consecutive samples"


def _parts(values: Values, by_sequence: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each sequence's part of the sum, and of the weight that the sum is divided by."""
    arrays = [np.asarray(sequence, np.float64) for sequence in values if len(sequence)]
    if not arrays:
        raise ValueError("expected values, got none")
    weights = np.array([1.0 if by_sequence else len(array) for array in arrays])
    return np.array([array.mean() for array in arrays]) * weights, weights


def _units(values: Values, by_sequence: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As :func:`_parts`, of the sequences, or where these are few of their blocks."""
    sequences = [np.asarray(sequence, np.float64) for sequence in values if len(sequence)]
    if len(sequences) >= FEW or not sequences:
        return _parts(values, by_sequence)
    length = _block(sequences)
    sums, weights = [], []
    for sequence in sequences:
        share = 1 / len(sequence) if by_sequence else 1.0
        for block in np.array_split(sequence, max(1, len(sequence) // length)):
            sums.append(block.sum() * share)
            weights.append(len(block) * share)
    return np.array(sums), np.array(weights)


def _block(sequences: Sequence[NDArray[np.float64]]) -> int:
    """Samples that count as one: (1 + r) / (1 - r), where r is the correlation of a sample with the next.

    That is by how much the variance of a mean grows where each sample depends on the one before; r is
    corrected for its bias in short series (Kendall, 1954).
    """
    apart = [sequence - sequence.mean() for sequence in sequences]
    power = sum(float((series * series).sum()) for series in apart)
    if not power:
        return 1
    r = sum(float((series[1:] * series[:-1]).sum()) for series in apart) / power
    r += (1 + 3 * max(r, 0.0)) / sum(map(len, apart))
    r = min(max(r, 0.0), _HIGHEST)
    return math.ceil((1 + r) / (1 - r) - 0.5)


def _t(freedom: int) -> float:
    """The quantile of Student's t that leaves (1 - LEVEL) / 2 above it (Cornish and Fisher, 1938)."""
    z, v = NormalDist().inv_cdf((1 + LEVEL) / 2), freedom
    first = (z**3 + z) / (4 * v)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    return z + first + second + third
