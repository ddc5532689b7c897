"""Farm: one video made by many machines, as tasks of a Ray cluster.

    this machine   walk ──┬─────────┬─────────┬──────> times of all frames ──> join ──> the file
                          │         │         │                                 ▲
    workers           segment 0  segment 1  segment 2 ── encoded pictures ── journal

The walk is a timeline without pictures: it finds cuts, repeats and times. Where a segment begins it sends a
copy of itself, in which frames stand for themselves by their numbers. A worker reads those frames again, from
a key frame of the file before them, goes on to the end of the segment with the frames beyond it in sight, and
encodes what it makes. Segments come back in any order, into the journal of a job that can be killed
(:mod:`tweenlet.video.journal`), and the file is written as such a job ends. It is the one that a single
machine writes, as far as the machines compute alike.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tweenlet import video
from tweenlet.interpolation.job import Job, Ready, for_source, states, versions
from tweenlet.interpolation.keyframes import SourceFrame
from tweenlet.interpolation.prefetch import DeviceCopier, WriteQueue, prefetch
from tweenlet.interpolation.timeline import Timeline
from tweenlet.runtime.devices import resolve_device
from tweenlet.runtime.extras import import_extra
from tweenlet.video import journal, scene_detection
from tweenlet.video.container import Clip
from tweenlet.video.frame import Frame
from tweenlet.video.journal import Coded
from tweenlet.video.picture_encoder import Places, open_encoder, representable, time_base_of

ENGINES = ("ray",)
"""What a farm may run on."""
RETRIES = 3
"""How often a segment is tried again, elsewhere, when its worker has died or cannot read or write."""
AHEAD = 2
"""Segments under way for each core or GPU of the cluster: one that is made, and one that waits."""


class FrameNumber(int):
    """Stands for a frame of the source as it came, as a tensor of one value does for its picture."""


@dataclass(frozen=True)
class Segment:
    """What a worker is to make, and from what on."""

    first: int
    """The number of its first frame."""
    end: int
    """One more than that of its last, unless the output ends before."""
    place: int
    """Where the frame before it begins, in units of the encoder's time base."""
    timeline: bytes
    """The walk at the start of an interval before it, pickled without pictures."""
    held: frozenset[int]
    """Numbers of the source frames that the walk holds then."""
    latest: SourceFrame[Any]
    """The last of them."""
    reading: tuple[tuple[Clip, int, Fraction], ...]
    """Parts of the file that have them, with number and time of their first frame. The whole comes last, for
    where what follows a key frame is not what the walk has seen.
    """


class Farm:
    """Makes the frames of a job on other machines.

    Args:
        job: what is asked for.
        on: one of ENGINES.

    Raises:
        ValueError: something that a farm does not do, with what is expected instead.

    """

    def __init__(self, job: Job, on: str) -> None:
        if on not in ENGINES:
            raise ValueError(f"expected a farm on {' or '.join(ENGINES)}, got {on}")
        if not job.files:
            raise ValueError("a farm takes a video file and a network by name, which its workers can read")
        if not job.resume:
            raise ValueError("a farm keeps the segments of a job until it is complete: expected resume")
        if job.engine == "auto":
            raise ValueError("a farm takes an engine by name: auto may choose another on each machine")
        import_ray()
        self._job = job
        self.local = replace(job, device="cpu", dtype=torch.float32, engine="eager")
        """The job as far as this machine does it."""
        self._times: list[Fraction] = []  # of the source's frames so far

    def leave_pictures(self, frames: Iterable[SourceFrame[Frame]]) -> Iterator[SourceFrame[Any]]:
        """The source for the walk: fingerprints, and numbers that stand for pictures."""
        for number, frame in enumerate(frames):
            self._times.append(frame.time)
            picture = torch.full((1, 1, 1), number, dtype=torch.float64)
            fingerprint = scene_detection.fingerprint(frame.picture)
            stands_for: SourceFrame[Any] = frame
            yield replace(stands_for, original=FrameNumber(number), picture=picture, fingerprint=fingerprint)

    def make_segments(
        self,
        walk: Timeline[Any],
        reader: video.Reader,
        writer: video.Writer,
        rate: Fraction,
        report: Callable[[int, Fraction, None], None],
    ) -> int:
        """Have the segments made that are not saved, and give the writer all frames.

        Args:
            walk: a timeline of frames without pictures; it counts the runs of the network in workers, too.
            reader: the source of those frames.
            writer: the output.
            rate: frames per second of the output.
            report: called again and again with the frames made so far, and the time of the latest.

        Returns:
            Frames written.

        Raises:
            ValueError: an output that is not written in segments.
            OSError: Ray is not installed, a worker cannot read the source, or all that tried a segment died.

        """
        if writer.journal is None:
            raise ValueError(f"a farm writes .mp4, .mov, .mkv, or .webm without opacity, got {writer.name}")
        saved, size, done = writer.journal, journal.SEGMENT, 0
        walk.skipped = sys.maxsize
        places = Places(time_base_of(reader, representable(rate)))
        shown: list[tuple[Fraction, Fraction]] = []  # time and duration of the output's frames
        pending: dict[Any, int] = {}  # task -> number of the segment
        with connect() as ray:

            def collect(room: int) -> None:
                """Save the segments that are ready, and wait until no more than so many are under way."""
                nonlocal done
                while pending:
                    is_full = len(pending) > room
                    tasks, _ = ray.wait([*pending], timeout=0.5 if is_full else 0)
                    for task in tasks:
                        packets, written, made = _result(ray, task)
                        writer.save(pending.pop(task), packets)
                        walk.made += made
                        done += written
                    done = min(done, len(shown))
                    report(done, shown[done - 1][0] if done else Fraction(0), None)
                    if not (tasks or is_full):
                        return

            try:
                submit, slots = self._prepare(ray, rate)
                segment = self._segment(walk, reader, 0, places)
                for output in walk:
                    number, already = divmod(len(shown), size)
                    if not already and number in saved:
                        done += size
                    elif not already:
                        pending[submit(segment)] = number
                    places.take(output.time, output.duration)
                    shown.append((output.time, output.duration))
                    if already == size - 1:
                        segment = self._segment(walk, reader, len(shown), places)
                        collect(AHEAD * slots)
                collect(0)
            finally:
                for task in pending:
                    ray.cancel(task, force=True)
        for time, duration in shown:
            writer.skip(time, duration)
        return len(shown)

    def _segment(self, walk: Timeline[Any], reader: video.Reader, first: int, places: Places) -> Segment:
        """The segment that begins with a frame, while the one before it has just been shown."""
        body = BytesIO()
        pickler = _Pickler(body)
        pickler.dump(walk)
        latest = walk.source.frame(walk.source.taken - 1)
        oldest = min(pickler.held)
        reading = [(self._job.clip, 0, Fraction(0))]
        is_damaged = any(notice.is_damage for notice in reader.notices)
        if oldest and not (self._job.loop or is_damaged):
            time = self._times[oldest]
            reading.insert(0, (Clip(reader.clip.start + time, reader.clip.end), oldest, time))
        return Segment(
            first, first + journal.SEGMENT, places.last, body.getvalue(), frozenset(pickler.held), latest,
            tuple(reading),
        )  # fmt: skip

    def _prepare(self, ray: Any, rate: Fraction) -> tuple[Callable[[Segment], Any], int]:
        """A function that has a segment made, and how many can be made at once."""
        resources = ray.cluster_resources()
        on_gpu = str(self._job.device).startswith("cuda") or (self._job.device is None and "GPU" in resources)
        if on_gpu and "GPU" not in resources:
            raise ValueError("no machine of the cluster has a GPU: expected --device cpu")
        job = replace(self._job.absolute(), device="cuda" if on_gpu else "cpu")
        task = ray.remote(
            num_cpus=1, num_gpus=int(on_gpu), max_retries=RETRIES, retry_exceptions=[OSError],
            scheduling_strategy="SPREAD",
        )(encode_segment)  # fmt: skip
        shared = ray.put((job, rate, states(job.files), versions()))
        slots = max(1, int(resources.get("GPU" if on_gpu else "CPU", 1)))  # some clusters grow when asked
        return lambda segment: task.remote(shared, segment), slots


def import_ray() -> Any:
    """Ray, which then reports nothing to its makers; OSError, with what to type, if it is not installed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    return import_extra("ray")


@contextmanager
def connect() -> Iterator[Any]:
    """Ray, connected to the cluster that RAY_ADDRESS names or that runs on this machine, else to its cores.

    Within another such block, and in a program that is connected already, it is that connection.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray's own would end this process as it stands
    try:
        yield ray
    finally:
        ray.shutdown()


def encode_segment(
    shared: tuple[Job, Fraction, list[tuple[str, int, int]], list[str]], segment: Segment
) -> tuple[list[Coded], int, int]:
    """Make the frames of a segment, in a worker: its packets, how many they show, and runs of the network.

    Raises:
        OSError: this machine does not see the files that the farm was given, or decodes them otherwise.
        ValueError: it has other versions of packages.

    """
    job, rate, files, packages = shared
    _check_machine(files, packages)
    if job.device == "cpu":
        torch.set_num_threads(1)
    copier, network = DeviceCopier(resolve_device(job.device)), job.load_network()
    suffix, encoding = Path(job.dst).suffix, job.encoding or video.Encoding()
    with job.read() as template, open_encoder(suffix, template, rate, encoding) as encoder:
        if template.stream is not None:
            job = replace(job, stream=template.stream.index)
        encoder.places.last = segment.place
        for clip, number, time in segment.reading:
            with job.read(clip) as reader, prefetch(job.frames(reader, copier, number)) as frames:
                source = enumerate((replace(frame, time=frame.time + time) for frame in frames), number)
                held = _read_held(source, segment)
                if held is None:
                    continue
                timeline: Timeline[Frame] = _Unpickler(BytesIO(segment.timeline), held).load()
                timeline.go_on((frame for _, frame in source), for_source(network, template))
                timeline.skipped = segment.first
                already = timeline.made
                with WriteQueue[Ready](lambda ready: ready.write(encoder)) as queue:
                    for output in timeline:
                        if output.number >= segment.first:
                            queue.put(Ready.of(output, copier))
                        if output.number == segment.end - 1:
                            break
                return encoder.end_segment(), encoder.places.count, timeline.made - already
    raise OSError(
        f"{socket.gethostname()} decodes other frames of {job.src} than the machine that asks for them"
    )


def _check_machine(files: list[tuple[str, int, int]], packages: list[str]) -> None:
    """Refuse to make what would not fit in with the rest."""
    host = socket.gethostname()
    for file in files:
        path = Path(file[0])
        if not path.is_file():
            raise FileNotFoundError(
                f"the worker {host} does not see {path}: expected a file system that all share"
            )
        if states([path]) != [file]:
            raise OSError(f"the worker {host} sees another {path}: expected a file system that all share")
    if versions() != packages:
        raise ValueError(f"expected tweenlet, torch and av {packages} on the worker {host}, got {versions()}")


def _read_held(
    source: Iterator[tuple[int, SourceFrame[Frame]]], segment: Segment
) -> dict[int, SourceFrame[Frame]] | None:
    """The frames that a segment's timeline holds, by number; None if they are not those that the walk saw."""
    held = {}
    for number, frame in source:
        if number in segment.held:
            held[number] = frame
        if number == segment.latest.original:
            seen, fingerprint = segment.latest, scene_detection.fingerprint(frame.picture)
            assert seen.fingerprint is not None
            is_same = frame.time == seen.time and np.array_equal(fingerprint, seen.fingerprint)
            return held if is_same else None
    return None


def _result(ray: Any, task: Any) -> tuple[list[Coded], int, int]:
    """What a task returned; OSError or its own error, in a line, if it failed."""
    try:
        result: tuple[list[Coded], int, int] = ray.get(task)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise OSError(f"a segment could not be made, tried {RETRIES + 1} times: {error}") from None
    return result


class _Pickler(pickle.Pickler):
    """Leaves out frames and pictures but for their numbers, which it collects."""

    def __init__(self, file: BytesIO) -> None:
        super().__init__(file)
        self.held: set[int] = set()

    def persistent_id(self, value: Any) -> tuple[str, int] | None:
        """What an object is saved as; None for as itself."""
        if not isinstance(value, (Tensor, FrameNumber)):
            return None
        self.held.add(int(value))
        return "picture" if isinstance(value, Tensor) else "original", int(value)


class _Unpickler(pickle.Unpickler):
    """Fills in frames and pictures."""

    def __init__(self, file: BytesIO, frames: dict[int, SourceFrame[Frame]]) -> None:
        super().__init__(file)
        self._frames = frames

    def persistent_load(self, saved: tuple[str, int]) -> Any:
        """What was saved so."""
        kind, number = saved
        return getattr(self._frames[number], kind)
