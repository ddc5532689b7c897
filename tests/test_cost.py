from __future__ import annotations

from functools import cache

import pytest

from tweenlet.config import MINI, SMALL, STMFNET, TINY
from tweenlet.cost import OFFICIAL_STRIDE, cost

count = cache(cost)


@pytest.mark.parametrize(
    ("config", "size", "official", "ours"),
    [
        (STMFNET, (256, 256), 200_556_487_488, 176_397_296_448),
        (MINI, (256, 256), 49_445_454_400, 43_405_656_640),
        (STMFNET, (480, 854), 1_403_894_423_232, 1_234_780_085_952),
        (MINI, (480, 854), 346_118_079_040, 303_839_494_720),
    ],
)
def test_multiply_adds(config, size, official, ours):
    counted = count(config, *size, OFFICIAL_STRIDE)
    assert counted.multiply_adds_official == official
    assert counted.multiply_adds == ours


def test_parts_of_the_teacher():
    counted = count(STMFNET, 256, 256, OFFICIAL_STRIDE)
    assert counted.parameters == 21_028_799
    assert {name: part.parameters for name, part in counted.parts.items()} == {
        "features": 3_965_816,
        "kernels": 1_656_858 + 99,
        "flow": 9_374_275,
        "fusion": 1_563_844,
        "texture": 4_467_907,
    }
    giga = {name: round(part.multiply_adds / 1e9, 2) for name, part in counted.parts.items()}
    assert giga == {"features": 2.87, "kernels": 37.07, "flow": 23.3, "fusion": 59.74, "texture": 53.42}
    assert (counted.unused.parameters, counted.unused.multiply_adds) == (92_424, 24_159_191_040)


def test_parts_of_mini():
    counted = count(MINI, 256, 256, OFFICIAL_STRIDE)
    assert counted.parameters == 1_822_162
    assert {name: part.parameters for name, part in counted.parts.items()} == {
        "features": 393_192,
        "kernels": 492_150 + 99,
        "fusion": 378_294,
        "texture": 558_427,
    }
    assert (counted.unused.parameters, counted.unused.multiply_adds) == (23_176, 6_039_797_760)


def test_the_default():
    counted = count(SMALL, 480, 854)
    assert (counted.parameters, counted.multiply_adds) == (595_024, 15_472_097_280)


def test_a_frame_is_padded_to_the_least_that_the_network_needs():
    counted = count(MINI, 480, 854)
    assert (counted.height, counted.width, counted.multiply_adds) == (480, 864, 274_676_330_560)
    assert (count(TINY, 1, 9).height, count(TINY, 1, 9).width) == (8, 16)
    with pytest.raises(ValueError, match="at least one pixel"):
        cost(TINY, 0, 16)
