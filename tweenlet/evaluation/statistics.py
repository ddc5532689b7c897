"""Statistics: confidence intervals of means, and significance tests of differences.

    values per sequence -> units, each a part of the mean -+-> resampled ------> interval
                                                           `-> signs flipped --> p value

Frames of one clip are correlated, so whole sequences are resampled, not frames: the question is what other
clips like these would give. Fewer than :data:`FEW` sequences are divided into blocks of consecutive samples,
long enough to be about independent; results then apply to these clips only. Random numbers are seeded, so
that results are reproducible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

FEW = 6
"""Fewest sequences to use as units instead of blocks, and fewest units for any statement."""
LEVEL = 0.95
NOISE = 0.05
"""p value from which on a difference counts as noise."""
_DRAWS = 10_000
_ALL_SIGNS = 13
"""Most units for which all sign flips are enumerated (2^13)."""
_HIGHEST = 0.95
"""Upper bound of the estimated correlation between neighbouring samples."""

Values = Sequence[Sequence[float]]
"""One number per sample, sequence by sequence, in order of time."""


@dataclass(frozen=True)
class Difference:
    """Difference of two methods on the same samples, in the metric's unit."""

    mean: float
    """First minus second."""
    interval: tuple[float, float] | None
    """95 % interval; None if there are too few units."""
    p: float | None
    """p value: probability of a difference at least this large, in either direction, between equal methods;
    None if there are too few units."""

    @property
    def sure(self) -> bool:
        """Whether the difference is significant."""
        return self.p is not None and self.p < NOISE


def mean(values: Values, by_sequence: bool = False) -> float:
    """The mean over samples, or over the means of sequences; ValueError if there is no value."""
    sums, weights = _parts(values, by_sequence)
    return float(sums.sum() / weights.sum())


def interval(values: Values, by_sequence: bool = False) -> tuple[float, float] | None:
    """The 95 % interval of :func:`mean`; None for fewer than six units. ValueError for no value.

    The percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13),
    widened for few units by the t distribution (Hesterberg, What Teachers Should Know About the Bootstrap,
    2015, "expanded percentile interval").
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
    """First minus second, sample by sample, with a paired test.

    The p value is that of the sign-flip permutation test over the units, exact for up to 13 of them.
    ValueError if the two do not pair.
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
        signs[0] = 1  # the observed signs are one of the ways
    p = float(np.mean(np.abs(signs @ sums) >= abs(sums.sum()) * (1 - 1e-9)))
    return Difference(mean(values, by_sequence), interval(values, by_sequence), p)


def unit_name(values: Values) -> str:
    """Name of the units: "9 sequences", or "blocks of consecutive samples"."""
    sequences = sum(1 for sequence in values if len(sequence))
    return f"{sequences} sequences" if sequences >= FEW else "blocks of consecutive samples"


def _parts(values: Values, by_sequence: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each sequence's part of the weighted sum, and of the total weight."""
    arrays = [np.asarray(sequence, np.float64) for sequence in values if len(sequence)]
    if not arrays:
        raise ValueError("expected values, got none")
    weights = np.array([1.0 if by_sequence else len(array) for array in arrays])
    return np.array([array.mean() for array in arrays]) * weights, weights


def _units(values: Values, by_sequence: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As :func:`_parts`, for sequences, or for their blocks if there are few."""
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
    """Block length: (1 + r) / (1 - r), where r is the correlation of neighbouring samples.

    The variance of a mean grows by this factor if each sample depends on the previous one; r is corrected for
    its bias in short series (Kendall, 1954).
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
    """Upper (1 - LEVEL) / 2 quantile of Student's t (Cornish and Fisher, 1938)."""
    z, v = NormalDist().inv_cdf((1 + LEVEL) / 2), freedom
    first = (z**3 + z) / (4 * v)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    return z + first + second + third
