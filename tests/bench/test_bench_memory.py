"""Memory: the peak of a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tweenlet.bench.memory import peak
from tweenlet.bench.subjects import Subject
from tweenlet.config import SMALL


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are known on Linux only")
def test_a_peak_grows_with_the_frame() -> None:
    small, large = (peak(Subject("small"), size) for size in ((64, 64), (640, 480)))
    hints = 4 * SMALL.refine[0] * 320 * 240  # one of the tensors that must be there
    assert large > hints
    assert large < 100 * hints
    assert small < large
