"""Memory: the peak of a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tweenlet.bench.memory import peaks
from tweenlet.bench.targets import Target
from tweenlet.network.checkpoint import network_of
from tweenlet.network.config import DEFAULT

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peaks are known on Linux only"
)


@pytest.mark.long
def test_a_peak_grows_with_the_frame() -> None:
    small, large = (peaks(Target("default"), size)["all"] for size in ((64, 64), (640, 480)))
    corrected = 4 * DEFAULT.intermediate.head * 320 * 240  # one of the tensors that must be there
    assert large > corrected
    assert large < 100 * corrected
    assert small < large


@pytest.mark.long
def test_parts_hold_no_more_than_all() -> None:
    peak_of = peaks(Target("mini"), (320, 240))
    parts = {name for name, _ in network_of("mini").named_children()}
    assert peak_of.keys() == parts | {"all"}
    assert all(0 < peak_of[name] < 1.2 * peak_of["all"] for name in parts)
