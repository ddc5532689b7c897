"""The reference is the official network, and ours computes the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.network.test_stmfnet import FAMILY
from tests.reference.official import Reference
from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.network.config import RIFE, TINY
from tweenlet.network.stmfnet import STMFNet


@pytest.mark.long
@pytest.mark.parametrize("net", ["mini", "teacher"])
def test_gives_the_golden_outputs(net, golden_weights, film, official_output):
    out = Reference(golden_weights(net))(film(range(4), 128, 160)[0])
    torch.testing.assert_close(out[None, :, ::4, ::4], official_output[net], atol=5e-5, rtol=0)


@pytest.mark.long
@pytest.mark.parametrize("name", FAMILY)
def test_ours_computes_the_same(name, lively):
    model = lively(FAMILY[name])
    frames = torch.rand(4, 3, 40, 53).unbind()
    wanted = Reference(model, pad_to=16)(frames)
    torch.testing.assert_close(Interpolator(model, pad_to=16).middle(frames), wanted, atol=1e-5, rtol=0)


def test_dead_blocks_are_computed(lively):
    model = lively(replace(TINY, texture=None))
    reference, computed = Reference(model, pad_to=16), set()
    conv = reference.conv
    reference.conv = lambda name, *args, **kwargs: computed.add(name) or conv(name, *args, **kwargs)
    reference(torch.rand(4, 3, 32, 32).unbind())
    dead = ("lateral.0_2", "lateral.0_3", "up.0_0", "up.0_1")
    for block in dead:
        assert {name for name in computed if name.startswith(f"fusion.{block}.")}, block


def test_knows_the_official_networks_only():
    with pytest.raises(ValueError, match="no intermediate-flow branch"):
        Reference(STMFNet(RIFE))
