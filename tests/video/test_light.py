"""Light of code values, by transfer characteristics."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from tweenlet.interpolation.keyframes import SourceFrame
from tweenlet.interpolation.timeline import OutputFrame, _expose
from tweenlet.video.light import HLG, LINEAR, PQ, SRGB, to_codes, to_light

BT709 = 1


@pytest.mark.parametrize("transfer", [BT709, 2, LINEAR, SRGB, PQ, HLG])
def test_light_rises_from_black_to_white_and_goes_back(transfer: int) -> None:
    codes = torch.linspace(0, 1, 1001, dtype=torch.float64)
    light = to_light(codes, transfer)
    assert (light.diff() > 0).all()
    assert (float(light[0]), float(light[-1])) == pytest.approx((0, 1), abs=1e-6)
    torch.testing.assert_close(to_codes(light, transfer), codes, atol=1e-4, rtol=0)
    beyond = torch.tensor([-0.05, 1.05])
    assert to_codes(to_light(beyond, transfer), transfer).isfinite().all()
    arrays = to_light(codes.numpy(), transfer)
    np.testing.assert_allclose(arrays, light, rtol=1e-6)
    np.testing.assert_allclose(to_codes(arrays, transfer), codes, atol=1e-4)


@pytest.mark.parametrize(
    ("transfer", "code", "light"),
    [
        (SRGB, 188 / 255, 0.5),  # the gray that half of white and half of black look like from afar
        (HLG, 0.75, 0.265),  # BT.2408: reference white
        (PQ, 0.508, 0.01),  # BT.2408: 100 of 10,000 candelas
        (BT709, 0.409, 0.18),  # BT.709: the gray card
    ],
)
def test_light_is_what_the_standards_say(transfer: int, code: float, light: float) -> None:
    assert float(to_light(torch.tensor(code), transfer)) == pytest.approx(light, rel=0.01)


def test_a_shutter_averages_light_and_what_is_transparent_has_no_colour() -> None:
    def sample(picture: torch.Tensor) -> OutputFrame[int]:
        source = SourceFrame(0, picture, Fraction(0), Fraction(1))
        return OutputFrame(None, (source, source), lambda: picture, Fraction(0), Fraction(1), 0)

    dark, lit = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    seen = _expose([sample(lit), *[sample(dark)] * 7], BT709).picture
    assert float(to_light(seen, BT709)[0]) == pytest.approx(1 / 8, abs=1e-4)
    assert float(seen[0]) > 0.3
    opaque, clear = torch.cat([lit, lit[:1]]), torch.cat([dark, dark[:1]])
    seen = _expose([sample(opaque), sample(clear)], BT709).picture
    assert seen.flatten().tolist() == pytest.approx([1, 1, 1, 0.5], abs=1e-4)
