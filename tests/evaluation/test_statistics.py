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
    values = clips(1, shape)
    rng = np.random.default_rng(5)
    means = []
    for _ in range(4000):
        drawn = [values[i] for i in rng.integers(0, len(values), len(values))]
        means.append(fmean(map(fmean, drawn)) if by_sequence else fmean(itertools.chain(*drawn)))
    found = statistics.interval(values, by_sequence)
    width = np.ptp(np.quantile(means, [0.025, 0.975]))
    assert found == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.05 * width)
    assert found == statistics.interval(values, by_sequence)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(200):
        low, high = statistics.interval(clips(seed, (4,) * 30)) or (0, 0)
        held += low <= 30 <= high
    assert 0.90 <= held / 200 <= 0.98


def test_few_clips_are_cut_into_blocks() -> None:
    one = [list(np.arange(27.0))]
    assert statistics.unit_name(one) == "9 blocks of consecutive samples"
    assert statistics.unit_name(clips(0)) == "9 sequences"
    low, high = statistics.interval(one) or (0, 0)
    assert 0 < low < 13 < high < 26
    assert statistics.unit_count([[1.0] * 11]) == 11
    assert statistics.unit_count([[1.0] * 50]) == 13
    assert statistics.interval([[1.0, 2.0]]) is None


def test_a_difference_that_is_the_same_everywhere_is_no_noise() -> None:
    first = clips(2)
    second = [[x - 0.1 for x in clip] for clip in first]
    found = statistics.difference(first, second)
    assert found.mean == pytest.approx(0.1)
    assert found.interval == pytest.approx((0.1, 0.1))
    assert found.p == pytest.approx(2 / 2**9)
    assert not found.noise


def test_the_p_value_is_that_of_all_signs_by_hand() -> None:
    differences = [0.5, -0.2, 0.9, 0.3, -0.1, 0.6, 0.4]
    count = 0
    for signs in itertools.product((1, -1), repeat=7):
        count += abs(sum(s * d for s, d in zip(signs, differences, strict=True))) >= sum(differences) - 1e-9
    zero = [[0.0]] * 7
    assert statistics.difference([[d] for d in differences], zero).p == pytest.approx(count / 2**7)


@pytest.mark.parametrize("clip_count", [9, 40])
def test_equal_methods_are_told_apart_as_rarely_as_p_says(clip_count: int) -> None:
    false = 0
    for seed in range(150):
        first, second = clips(seed, (5,) * clip_count), clips(seed + 1000, (5,) * clip_count)
        false += not statistics.difference(first, second).noise
    assert false / 150 < 0.11


def test_too_few_to_tell_is_noise() -> None:
    found = statistics.difference([[3.0, 4.0]], [[1.0, 1.0]])
    assert (found.mean, found.interval, found.noise) == (2.5, None, True)


def test_what_does_not_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="as many values of the second"):
        statistics.difference([[1.0], [2.0]], [[1.0, 2.0]])
