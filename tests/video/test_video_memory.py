"""Memory does not grow with the length of a video."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
from tweenlet.runtime.malloc import peak_rss
from tweenlet import video
with video.read({source!r}) as reader, video.write({target!r}, reader, reader.rate) as writer:
    for index, frame in enumerate(reader):
        writer.write(frame.rgb(), frame.time, frame.duration)
        if index == 119:
            early = peak_rss()
print(index + 1, (peak_rss() - early) >> 20)
"""


@pytest.mark.long
def test_constant_memory(make_clip, tmp_path):
    source = make_clip(size=(256, 144), count=400, sound="aac", options={"preset": "ultrafast"})
    program = PROGRAM.format(source=str(source), target=str(tmp_path / "out.mp4"))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    count, grown = map(int, done.stdout.split())
    assert count == 400
    assert grown < 10  # MB; the 280 frames after the first 120 take 15 as decoded, 124 as RGB
