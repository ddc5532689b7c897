"""The clip that the demo makes smoother is in the package, small, with sound and motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tweenlet
from tweenlet import video


def test_demo_clip():
    clip = Path(tweenlet.__file__).parent / "assets" / "demo.mp4"
    assert clip.stat().st_size < 400_000
    with video.read(clip) as reader:
        assert (reader.width, reader.height, reader.rate, reader.frame_count) == (480, 320, 15, 24)
        assert [s.type for s in reader.stream.container.streams] == ["video", "audio"]
        frames = [frame.rgb() for frame in reader]
    assert len(frames) == 24
    assert np.abs(frames[0] - frames[1]).mean() > 0.02
