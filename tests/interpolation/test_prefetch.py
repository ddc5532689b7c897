"""Reading ahead and writing behind: order, bounds, failures, and that no thread stays."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tweenlet.interpolation import video as interpolate
from tweenlet.interpolation.prefetch import AHEAD, BEHIND, DeviceCopier, HostCopy, Item, WriteQueue, prefetch
from tweenlet.video.frame import Frame
from tweenlet.video.video_writer import VideoWriter

CLIP = Path(__file__).parents[1] / "assets" / "learning-area-frog.mp4"


class Blend(nn.Module):
    """A network's stand-in."""

    stride = 16

    def forward(self, frames: Tensor) -> Tensor:
        return frames[:, 1:3].mean(1)


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def soon(happened: Callable[[], bool]) -> bool:
    """Whether it happens within some seconds."""
    until = time.monotonic() + 10
    while not happened() and time.monotonic() < until:
        time.sleep(0.002)
    return happened()


def test_items_come_in_order_and_are_read_before_they_are_asked_for() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(20):
            taken.append(i)
            yield i

    with prefetch(items()) as source:
        assert not taken  # nothing is read that nobody wants
        assert next(source) == 0
        assert soon(lambda: len(taken) == 1 + AHEAD)
        time.sleep(0.02)
        assert len(taken) == 1 + AHEAD  # and no more
        assert list(source) == list(range(1, 20))
    with prefetch(items()) as source:
        pass
    assert len(taken) == 20


def test_a_source_that_fails_gives_what_came_before() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise ValueError("cut short")

    with prefetch(items()) as source:
        assert [next(source) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="cut short"):
            next(source)
    with prefetch(items()) as source:
        assert [next(source) for _ in range(3)] == [0, 1, 2]  # who asks for no more does not hear of it


def test_the_caller_may_leave_early_and_by_an_exception() -> None:
    with prefetch(iter(range(10**9))) as source:
        assert next(source) == 0

    def stopped() -> None:
        with prefetch(iter(range(10**9))) as source:
            next(source)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()


def test_writing_goes_on_behind_in_order_and_within_bounds() -> None:
    written: list[int] = []
    go = threading.Semaphore(0)

    def write(item: int) -> None:
        go.acquire()
        written.append(item)

    with WriteQueue(write) as queue:
        for i in range(BEHIND):
            queue.put(i)
        assert written == []  # the caller did not wait
        late = threading.Thread(target=queue.put, args=(BEHIND,))
        late.start()
        late.join(0.05)
        assert late.is_alive()  # but has to, where too much waits
        for _ in range(10):
            go.release()
        late.join()
        for i in range(BEHIND + 1, 10):
            queue.put(i)
    assert written == list(range(10))


def test_what_fails_behind_comes_out_at_the_next_step_or_at_the_end() -> None:
    def write(item: int) -> None:
        tried.append(item)
        raise OSError("the disk is full")

    tried: list[int] = []
    with pytest.raises(OSError, match="full"), WriteQueue(write) as queue:
        queue.put(0)

    def many() -> None:
        with WriteQueue(write) as queue:
            for i in range(1, 10**6):
                queue.put(i)

    with pytest.raises(OSError, match="full"):
        many()
    assert tried == [0, 1]  # after a failure nothing more is tried


def test_after_an_exception_what_waits_is_dropped() -> None:
    written: list[int] = []
    started, go = threading.Event(), threading.Event()

    def write(item: int) -> None:
        started.set()
        go.wait()
        written.append(item)

    def stopped() -> None:
        with WriteQueue(write) as queue:
            queue.put(0)
            queue.put(1)
            started.wait()
            threading.Timer(0.05, go.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert written == [0]


@contextmanager
def unthreaded(items: Iterable[object]) -> Iterator[object]:
    """No thread."""
    yield iter(items)


class Unqueued(WriteQueue[Item]):
    """No thread, either."""

    def put(self, item: object) -> None:
        self._write(item)


@pytest.mark.parametrize("factor", [2, 4])
def test_the_file_is_the_same_to_the_byte_as_without_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: int
) -> None:
    def run(name: str) -> tuple[bytes, interpolate.Summary]:
        done = interpolate.interpolate_video(CLIP, tmp_path / name, factor=factor, model=Blend())
        return (tmp_path / name).read_bytes(), done

    threaded, done = run("threads.mp4")
    monkeypatch.setattr(interpolate, "prefetch", unthreaded)
    monkeypatch.setattr(interpolate, "WriteQueue", Unqueued)
    plain, too = run("plain.mp4")
    assert threaded == plain
    assert (done.frames_in, done.frames_out, done.frames_made) == (
        too.frames_in,
        too.frames_out,
        too.frames_made,
    )


@pytest.mark.parametrize("stage", ["decode", "network", "encode", "user"])
def test_a_failure_in_any_stage_surfaces_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(f"no {stage}")

    model, progress = Blend(), None
    if stage == "decode":
        monkeypatch.setattr(Frame, "rgb", fail)
    elif stage == "network":
        model.forward = fail
    elif stage == "encode":
        monkeypatch.setattr(VideoWriter, "_mux", fail)
    else:
        progress = fail
    with pytest.raises(OSError, match=f"no {stage}|cannot write"):
        interpolate.interpolate_video(CLIP, tmp_path / "out.mp4", model=model, progress=progress)
    assert not list(tmp_path.iterdir())


LONG = """
import sys
from fractions import Fraction
import torch
torch.set_num_threads(1)
from tweenlet.runtime.malloc import peak_rss
from tweenlet import interpolate_video
early = 0
def progress(written, total):
    global early
    if written == 200:
        early = peak_rss()
done = interpolate_video(sys.argv[1], sys.argv[2], progress=progress)
print(done.frames_out, (peak_rss() - early) >> 20)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path: Path) -> None:
    clip = tmp_path / "long.mp4"
    with av.open(str(clip), "w") as output:
        stream = output.add_stream("libx264", Fraction(25), {"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        for i in range(500):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(noise, i, 1)), "rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    command = [sys.executable, "-c", LONG, str(clip), str(tmp_path / "out.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    frames, grown = map(int, done.stdout.split())
    assert frames == 999
    assert grown < 10  # MB; 800 frames take 40 as they are written


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_copies_hold_what_was_there_when_they_were_asked_for(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    copier = DeviceCopier(torch.device(device))
    pictures = [torch.rand(3, 270, 480) for _ in range(6)]

    def work(pictures: list[Tensor]) -> Iterator[HostCopy]:
        with prefetch(copier.to_device(picture.numpy()) for picture in pictures) as there:
            for picture in there:
                assert picture.device.type == device
                latest = picture
                for _ in range(50):  # so that the device is busy when the copy is asked for
                    latest = (latest + picture) / 2
                yield copier.to_host(latest * 2)

    for picture, copy in zip(pictures, list(work(pictures)), strict=True):
        landed = copy.wait()
        np.testing.assert_allclose(landed, 2 * picture.numpy(), rtol=1e-6)


class _Interrupted(BaseException):
    """What a handler of a signal raises."""


def _raise_at(moment: int) -> Callable[..., object]:
    """A tracer that raises at one of the moments at which a signal may be handled, when others have run."""
    passed = 0

    def trace(*_: object) -> Callable[..., object]:
        nonlocal passed
        passed += 1
        if passed == moment:
            sys.settrace(None)
            time.sleep(0.005)
            raise _Interrupted
        return trace

    return trace


@pytest.mark.parametrize("moment", range(1, 31))
def test_an_interruption_at_any_moment_ends_the_threads(moment: int) -> None:
    written: list[int] = []
    earlier = sys.gettrace()
    try:
        with prefetch(iter(range(1000))) as source, WriteQueue(written.append) as queue:
            for item in islice(source, 3):
                queue.put(item)
            sys.settrace(_raise_at(moment))
            for item in source:
                queue.put(item)
    except _Interrupted:
        pass
    finally:
        sys.settrace(earlier)
    assert written == list(range(len(written)))
    assert len(written) < 1000
