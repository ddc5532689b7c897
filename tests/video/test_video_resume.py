"""A killed job goes on with the same call from what is encoded, and ends with the same file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import nn

from tweenlet import interpolate_video, video
from tweenlet.network import checkpoint as weights
from tweenlet.video import Encoding, codecs, journal, video_writer
from tweenlet.video.retiming import TimeMap

RUNS = 0


class Blend(nn.Module):
    """Counts the frames it makes."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        global RUNS
        RUNS += 1
        return (frames[:, 1] + frames[:, 2]) / 2


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "load", lambda name, device="cpu": Blend())
    for module in (journal, video_writer):
        monkeypatch.setattr(module, "SEGMENT", 10)
    monkeypatch.setitem(
        codecs._H264, "crf", "0"
    )  # else x264 varies, in one of some ten runs, below 100 pixels


class Killed(BaseException):
    """As SystemExit and KeyboardInterrupt are."""


def run(
    clip: Path, target: Path, stop: int | None = None, error: type[BaseException] = Killed, **ask: object
):
    global RUNS
    RUNS = 0

    def progress(done: int, total: int | None) -> None:
        if done == stop:
            raise error

    return interpolate_video(clip, target, resume=True, progress=progress, **ask)


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("out.mp4", {}),
        ("out.mkv", {"encoding": Encoding(codec="hevc", preset="ultrafast")}),
        ("out.webm", {}),
        ("out.mp4", {"slow": 1.5, "shutter": 180}),
    ],
)
def test_a_killed_job_ends_with_the_same_file_and_makes_no_frame_twice(make_clip, name: str, ask) -> None:
    clip = make_clip("clip.mkv", count=20, sound="aac", subtitles="subrip")
    whole = clip.with_name(f"whole{Path(name).suffix}")
    run(clip, whole, **ask)
    all_runs, target = RUNS, clip.with_name(name)
    with pytest.raises(Killed):
        run(clip, target, stop=24, **ask)
    assert not target.exists()
    assert len(list(clip.parent.glob(".*.segments"))) == 1
    summary = run(clip, target, **ask)
    assert all_runs * 0.7 > RUNS
    assert target.read_bytes() == whole.read_bytes()
    with video.read(target) as reader:
        assert sum(1 for _ in reader) == summary.frames_out
    assert {path.name for path in clip.parent.iterdir()} == {clip.name, whole.name, name}


def test_a_job_that_differs_begins_anew(make_clip) -> None:
    clip, target = make_clip(count=20), make_clip().with_name("out.mp4")
    clip = make_clip(count=20)
    with pytest.raises(Killed):
        run(clip, target, stop=24)
    run(clip, target, factor=4)
    assert RUNS == 19 * 3
    with pytest.raises(Killed):
        run(clip, target, stop=24, overwrite=True)
    os.utime(clip, ns=(1, 1))
    run(clip, target, overwrite=True)
    assert RUNS == 19


def test_an_edited_file_of_speeds_begins_anew(make_clip) -> None:
    """What it says is part of the job, not its name; points in an object are the same job in any process."""
    clip = make_clip("clip.mkv", count=20)
    target, speeds = clip.with_name("out.mp4"), clip.with_name("ramp.txt")
    speeds.write_text("0:1 1:0.25")
    run(clip, target, speed=str(speeds))
    all_runs = RUNS
    speeds.write_text("0:1 1:0.5")
    with pytest.raises(Killed):
        run(clip, target, stop=24, speed=str(speeds), overwrite=True)
    speeds.write_text("0:1 1:0.25")
    with pytest.raises(Killed):
        run(clip, target, stop=24, speed=str(speeds), overwrite=True)
    points = [(Fraction(0), Fraction(1)), (Fraction(1), Fraction(1, 4))]
    begun = RUNS
    assert begun > 10
    run(clip, target, speed=TimeMap(points), overwrite=True)
    assert all_runs > RUNS


def test_segments_that_are_cut_short_or_damaged_are_not_counted(make_clip) -> None:
    clip = make_clip(count=20)
    whole, target = clip.with_name("whole.mp4"), clip.with_name("out.mp4")
    run(clip, whole)
    for damage in (lambda data: data[:-9], lambda data: data[:-9] + bytes(9), lambda data: data[:20]):
        target.unlink(missing_ok=True)
        with pytest.raises(Killed):
            run(clip, target, stop=24)
        (saved,) = clip.parent.glob(".*.segments")
        saved.write_bytes(damage(saved.read_bytes()))
        run(clip, target)
        assert target.read_bytes() == whole.read_bytes()


def test_nothing_is_left_by_a_short_job_or_an_error(make_clip) -> None:
    clip = make_clip(count=20)
    target = clip.with_name("out.mp4")
    with pytest.raises(Killed):
        run(clip, target, stop=8)
    with pytest.raises(TypeError, match=r"^$"):
        run(clip, target, stop=24, error=TypeError)
    assert list(clip.parent.iterdir()) == [clip]


def test_without_leave_nothing_is_kept(make_clip) -> None:
    clip = make_clip(count=20)

    def stop(done: int, total: int | None) -> None:
        if done == 24:
            raise Killed

    with pytest.raises(Killed):
        interpolate_video(clip, clip.with_name("out.mp4"), progress=stop)
    assert list(clip.parent.iterdir()) == [clip]


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_what_the_next_goes_on_with(make_clip) -> None:
    clip = make_clip(count=20)
    whole, target = clip.with_name("whole.mp4"), clip.with_name("out.mp4")
    run(clip, whole)
    script = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[3]); import test_video_resume as t; "
        "t.weights.load = lambda name, device='cpu': t.Blend(); "
        "t.journal.SEGMENT = t.video_writer.SEGMENT = 10; t.codecs._H264['crf'] = '0'; "
        "from pathlib import Path; "
        "t.interpolate_video(Path(sys.argv[1]), Path(sys.argv[2]), resume=True, "
        "progress=lambda done, total: done == 30 and os.kill(os.getpid(), signal.SIGKILL))"
    )
    arguments = [sys.executable, "-c", script, str(clip), str(target), str(Path(__file__).parent)]
    killed = subprocess.run(arguments, check=False, timeout=200)
    assert killed.returncode == -signal.SIGKILL
    assert not target.exists()
    run(clip, target)
    assert RUNS < 19
    assert target.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in clip.parent.iterdir()) == ["clip.mp4", "out.mp4", "whole.mp4"]
