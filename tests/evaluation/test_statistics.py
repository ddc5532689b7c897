from __future__ import annotations

import itertools
from statistics import fmean

import numpy as np
import pytest

from tweenlet.evaluation import statistics


def clips(seed: int, shape: tuple[int, ...] = (12,) * 9, spread: float = 3.0) -> list[list[float]]:
    """Numbers whose clips differ more than the samples of a clip."""
    rng = np.random.default_rng(seed)
    return [list(30 + spread * rng.standard_normal() + rng.standard_normal(n)) for n in shape]


def course(seed: int, count: int, correlation: float) -> list[list[float]]:
    """One clip of mean 0, each sample of which resembles the one before."""
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal()]
    for _ in range(count - 1):
        values.append(correlation * values[-1] + np.sqrt(1 - correlation**2) * rng.standard_normal())
    return [values]


def test_a_mean_is_over_samples_or_over_sequences() -> None:
    values = [[1.0, 2.0, 3.0], [10.0], []]
    assert statistics.mean(values) == pytest.approx(4)
    assert statistics.mean(values, by_sequence=True) == pytest.approx(6)
    with pytest.raises(ValueError, match="expected values, got none"):
        statistics.mean([[]])


@pytest.mark.parametrize("by_sequence", [False, True])
@pytest.mark.parametrize("shape", [(12,) * 9, (1,) * 40, (3, 30, 7, 7, 1, 12, 20)])
def test_the_interval_is_that_of_clips_drawn_in_a_plain_loop(
    shape: tuple[int, ...], by_sequence: bool
) -> None:
    """The tails are those that make room for what so few clips hide: 1.56 % instead of 2.5 % on 7 of them."""
    from scipy.stats import norm, t

    values, count = clips(1, shape), len(shape)
    rng = np.random.default_rng(5)
    means = []
    for _ in range(6000):
        drawn = [values[i] for i in rng.integers(0, count, count)]
        means.append(fmean(map(fmean, drawn)) if by_sequence else fmean(itertools.chain(*drawn)))
    tail = norm.cdf(-t.ppf(0.975, count - 1) * np.sqrt(count / (count - 1)))
    ends = np.quantile(means, [tail, 1 - tail])
    found = statistics.interval(values, by_sequence)
    assert found == pytest.approx(ends, abs=0.05 * np.ptp(ends))
    assert found == statistics.interval(values, by_sequence)


@pytest.mark.long
@pytest.mark.parametrize("count", [6, 9, 30])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(count: int) -> None:
    held = 0
    for seed in range(200):
        low, high = statistics.interval(clips(seed, (4,) * count)) or (0, 0)
        held += low <= 30 <= high
    assert 0.89 <= held / 200 <= 0.99


def test_few_clips_are_cut_into_blocks_as_long_as_samples_resemble_each_other() -> None:
    assert statistics.unit_name([[1.0, 2.0, 5.0]]) == "blocks of consecutive samples"
    assert statistics.unit_name(clips(0)) == "9 sequences"
    assert statistics.interval(course(0, 40, 0.0)) is not None
    assert statistics.interval([list(np.arange(20.0))]) is None  # a drift, and no more
    assert statistics.interval([[1.0, 2.0]]) is None
    low, high = statistics.interval([[4.0] * 12]) or (0, 0)
    assert (low, high) == (4, 4)


@pytest.mark.long
@pytest.mark.parametrize(("correlation", "most"), [(0.0, 0.09), (0.5, 0.2), (0.9, 0.2)])
def test_of_one_clip_a_difference_is_rarely_called_sure_by_chance(correlation: float, most: float) -> None:
    """Where samples resemble each other strongly the answer is mostly that there are too few."""
    zero = [[0.0] * 50]
    result = [statistics.difference(course(seed, 50, correlation), zero) for seed in range(150)]
    assert sum(one.sure for one in result) / 150 < most
    if correlation == 0.9:
        assert sum(one.p is None for one in result) / 150 > 0.6


def test_a_difference_that_is_the_same_everywhere_is_sure() -> None:
    first = clips(2)
    second = [[x - 0.1 for x in clip] for clip in first]
    result = statistics.difference(first, second)
    assert result.mean == pytest.approx(0.1)
    assert result.interval == pytest.approx((0.1, 0.1))
    assert result.p == pytest.approx(2 / 2**9)
    assert result.sure


def test_the_p_value_is_that_of_all_signs_by_hand() -> None:
    differences = [0.5, -0.2, 0.9, 0.3, -0.1, 0.6, 0.4]
    count = 0
    for signs in itertools.product((1, -1), repeat=7):
        count += abs(sum(s * d for s, d in zip(signs, differences, strict=True))) >= sum(differences) - 1e-9
    zero = [[0.0]] * 7
    assert statistics.difference([[d] for d in differences], zero).p == pytest.approx(count / 2**7)


@pytest.mark.slow
@pytest.mark.parametrize("clip_count", [9, 40])
def test_equal_methods_are_told_apart_as_rarely_as_p_says(clip_count: int) -> None:
    false = 0
    for seed in range(150):
        first, second = clips(seed, (5,) * clip_count), clips(seed + 1000, (5,) * clip_count)
        false += statistics.difference(first, second).sure
    assert false / 150 < 0.11


def test_of_too_few_nothing_is_said() -> None:
    found = statistics.difference([[3.0, 4.0]], [[1.0, 1.0]])
    assert (found.mean, found.interval, found.p, found.sure) == (2.5, None, None, False)


def test_what_does_not_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="as many values of the second"):
        statistics.difference([[1.0], [2.0]], [[1.0, 2.0]])
