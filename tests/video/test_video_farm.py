"""A farm writes the file that a single machine writes, to the byte, in whatever order segments come back."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tweenlet import interpolate_video
from tweenlet.cli import main
from tweenlet.interpolation import farm, segments
from tweenlet.network import checkpoint as weights
from tweenlet.runtime import extras
from tweenlet.video import Encoding, codecs, journal, video_writer
from tweenlet.video.container import Clip


class Blend(nn.Module):
    """Shows the outer two of four frames, too, so that one that is missing is seen."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return (torch.tensor([0.1, 0.5, 0.3, 0.1]).view(1, 4, 1, 1, 1) * frames).sum(1)


class Task(SimpleNamespace):
    """A call to be made; unlike other namespaces it can be looked up."""

    __hash__ = object.__hash__


class InProcess:
    """What the farm asks of Ray, one task at a time and the latest first; what is sent is pickled."""

    exceptions = SimpleNamespace(RayTaskError=type("", (Exception,), {}), RayError=type("", (Exception,), {}))

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def remote(self, **_: object) -> Callable[[Any], Any]:
        return lambda call: SimpleNamespace(remote=lambda *sent: Task(call=call, sent=pickle.dumps(sent)))

    def put(self, value: object) -> object:
        return value

    def wait(self, tasks: list[Task], timeout: float) -> tuple[list[Task], list[Task]]:
        return (tasks[-1:], tasks[:-1]) if timeout else ([], tasks)

    def get(self, task: Task) -> Any:
        return task.call(*pickle.loads(task.sent))

    def cancel(self, *_: object, **__: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (journal, video_writer):
        monkeypatch.setattr(module, "SEGMENT", 20)
    monkeypatch.setitem(
        codecs._H264, "crf", "0"
    )  # else x264 varies, in one of some ten runs, below 100 pixels


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def connect() -> Iterator[InProcess]:
        yield InProcess()

    monkeypatch.setattr(weights, "load", lambda name, device="cpu": Blend())
    monkeypatch.setattr(farm, "import_ray", InProcess)
    monkeypatch.setattr(farm, "connect", connect)


UNEVEN = [Fraction(k, 25) + Fraction(k // 30) + Fraction(k % 3, 100) for k in range(80)]
"""Times of frames at no steady rate, with two holds of a second."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("out.mkv", {"encoding": Encoding(codec="ffv1")}),
        ("out.mp4", {"fps": 60}),
        ("out.mp4", {"factor": 3, "repeats": "smooth"}),
        ("out.webm", {"slow": 1.5, "shutter": 180}),
        ("out.mp4", {"start": 0.5, "end": 3.5}),
        ("out.mp4", {"loop": True}),
        ("out.mp4", {"replace": "3,77-79"}),
        ("out.mp4", {"deinterlace": True}),
        ("out.mp4", {"times": UNEVEN}),
        ("out.mp4", {"times": UNEVEN, "fps": 60, "repeats": "smooth"}),
    ],
)
def test_the_file_is_that_of_a_single_machine(make_clip, in_process, name: str, ask: dict[str, Any]) -> None:
    ask = {**ask}
    times = ask.pop("times", None)
    clip = make_clip(
        "clip.mkv", count=80, times=times, sound="aac", subtitles="subrip", options={"g": "10", "crf": "10"}
    )
    whole, target = clip.with_name(f"whole{Path(name).suffix}"), clip.with_name(name)
    alone = interpolate_video(clip, whole, resume=True, **ask)
    together = interpolate_video(clip, target, resume=True, on="ray", **ask)
    assert together.frames_out > 2 * journal.SEGMENT
    assert target.read_bytes() == whole.read_bytes()
    counts = ("frames_in", "frames_out", "cuts", "repeats", "frames_kept")
    assert all(getattr(alone, count) == getattr(together, count) for count in counts)
    assert {path.name for path in clip.parent.iterdir()} == {clip.name, whole.name, name}


@pytest.mark.slow
def test_workers_read_from_a_key_frame_on(make_clip, in_process, monkeypatch: pytest.MonkeyPatch) -> None:
    jumps = []
    seek = Clip.seek

    def noted(clip: Clip, *rest: Any) -> bool:
        jumps.append(seek(clip, *rest))
        return jumps[-1]

    monkeypatch.setattr(Clip, "seek", noted)
    clip = make_clip(count=100, options={"g": "10"})
    interpolate_video(clip, clip.with_name("out.mp4"), resume=True, on="ray")
    assert sum(jumps) == 4  # of ten segments, those that begin more than two seconds after the first


@pytest.mark.slow
def test_where_a_key_frame_misleads_the_file_is_read_from_its_start(
    make_clip, in_process, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(count=100, options={"g": "10"})
    whole, target = clip.with_name("whole.mp4"), clip.with_name("out.mp4")
    interpolate_video(clip, whole, resume=True)
    read_held, refused = segments._read_held, []

    def distrust(source: Any, segment: segments.Segment) -> Any:
        held = read_held(source, segment)
        if len(segment.reading) > 1 and segment.first not in refused:
            refused.append(segment.first)
            return None
        return held

    monkeypatch.setattr(segments, "_read_held", distrust)
    interpolate_video(clip, target, resume=True, on="ray")
    assert refused
    assert target.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_a_farm_and_a_single_machine_go_on_where_the_other_was_killed(make_clip, in_process) -> None:
    clip = make_clip(count=100)
    whole, target = clip.with_name("whole.mp4"), clip.with_name("out.mp4")
    interpolate_video(clip, whole, resume=True)

    def stop(done: int, total: int | None) -> None:
        if done >= 60:
            raise KeyboardInterrupt

    runs = []
    for first, then in (("ray", None), (None, "ray"), ("ray", "ray")):
        with pytest.raises(KeyboardInterrupt):
            interpolate_video(clip, target, resume=True, on=first, progress=stop)
        runs.append(interpolate_video(clip, target, resume=True, on=then).frames_made)
        assert target.read_bytes() == whole.read_bytes()
        target.unlink()
    assert max(runs[1:]) < 80 < 99


def test_a_file_that_a_worker_does_not_see_is_named(make_clip) -> None:
    clip = make_clip()
    states = segments.states([clip])
    segments._check_machine(states, segments.versions())
    os.utime(clip, ns=(1, 1))
    with pytest.raises(OSError, match=r"sees another .*clip.mp4: expected a file system that all share"):
        segments._check_machine(states, segments.versions())
    clip.unlink()
    with pytest.raises(FileNotFoundError, match=r"does not see .*clip.mp4: expected a file system"):
        segments._check_machine(states, segments.versions())
    with pytest.raises(ValueError, match=r"expected tweenlet, torch and av \['0.0', '0.0', '0.0'\]"):
        segments._check_machine([], ["0.0"] * 3)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-", "out.mp4"], "a farm takes a video file and a network by name"),
        (["clip.mp4", "out.mp4", "--no-resume"], "a farm keeps the segments of a job until it is complete"),
        (["clip.mp4", "out.mp4", "--engine", "auto"], "a farm takes an engine by name"),
        (["clip.mp4", "out.y4m"], "a farm writes .mp4, .mov, .mkv, or .webm without opacity, got out.y4m"),
        (["clip.mp4", "out.mp4", "--preview", "now.png"], "--preview and --on exclude each other"),
        (["clip.mp4", "out.mp4", "--device", "cuda"], "no machine of the cluster has a GPU"),
    ],
)
def test_what_a_farm_does_not_do_is_refused(
    make_clip, in_process, arguments: list[str], reason: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(make_clip().parent)
    with pytest.raises(SystemExit):
        main(["interpolate", *arguments, "--on", "ray"])
    assert reason in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["clip.mp4"]


def test_ray_is_named_where_it_is_not_installed(make_clip, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(extras, "import_module", missing)
    clip = make_clip()
    with pytest.raises(OSError, match=r"^Ray is not installed: pip install 'tweenlet\[ray\]'$"):
        interpolate_video(clip, clip.with_name("out.mp4"), resume=True, on="ray")
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_several_videos_are_done_at_once(make_clip, in_process, capsys) -> None:
    clips = [make_clip(f"{name}.mp4", count=30) for name in "abc"]
    clips[1].write_bytes(b"no video")
    folder = clips[0].with_name("out")
    with pytest.raises(SystemExit) as end:
        main(["interpolate", *map(str, clips), "--out-dir", str(folder), "--on", "ray"])
    assert end.value.code == 1
    said = capsys.readouterr()
    assert "3 videos: 2 done, 1 failed" in said.out
    assert "b.mp4 is not a video file" in said.err
    assert sorted(path.name for path in folder.iterdir()) == ["a.mp4", "c.mp4"]


def workers(session: str) -> list[int]:
    """Processes of a Ray session that make a segment now."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title = (process / "cmdline").read_bytes()
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if b"encode_segment" in title and session in Path("/proc", parent, "cmdline").read_text():
                pids.append(int(process.name))
        except OSError:  # it has ended
            continue
    return pids


@pytest.mark.long
@pytest.mark.optional
@pytest.mark.skipif(sys.platform != "linux", reason="the test looks for workers in /proc")
@pytest.mark.filterwarnings("default")
def test_two_workers_of_ray_one_of_them_killed_write_the_same_file(make_clip) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    ray = farm.import_ray()
    clip = make_clip("clip.mkv", count=100, sound="aac", options={"g": "10", "crf": "10"})
    whole, target = clip.with_name("whole.mkv"), clip.with_name("out.mkv")
    ask: dict[str, Any] = {"encoding": Encoding(codec="ffv1"), "resume": True}
    interpolate_video(clip, whole, **ask)
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        killed: list[int] = []

        def kill_one(done: int, total: int | None) -> None:
            session = ray._private.worker._global_node.get_session_dir_path()
            if not killed and (busy := workers(session)):
                os.kill(busy[0], signal.SIGKILL)
                killed.append(busy[0])

        summary = interpolate_video(clip, target, on="ray", progress=kill_one, **ask)
    finally:
        ray.shutdown()
    assert killed
    assert summary.frames_out == 199
    assert target.read_bytes() == whole.read_bytes()
