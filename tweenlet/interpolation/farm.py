"""Farm: one video interpolated by many machines, as tasks of a Ray cluster.

    this machine   walk ──┬─────────┬─────────┬──────> times of all frames ──> join ──> the file
                          │         │         │                                 ▲
    workers           segment 0  segment 1  segment 2 ── encoded pictures ── journal

The walk is a timeline without pictures: it determines cuts, repeats and times. Where a segment begins, it
sends a copy of itself in which numbers replace the frames. A worker reads those frames again, starting from
an earlier key frame of the file, continues to the end of the segment, and encodes its frames. Segments come
back in any order into the journal of a resumable job (:mod:`tweenlet.video.journal`), from which the file is
written at the end. It is the same as a single machine's, as far as the machines compute alike.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from typing import Any

import torch

from tweenlet import video
from tweenlet.interpolation.job import Job, states, versions
from tweenlet.interpolation.keyframes import SourceFrame
from tweenlet.interpolation.segments import FrameNumber, Segment, WalkPickler, encode_segment
from tweenlet.interpolation.timeline import Timeline
from tweenlet.runtime.extras import import_extra
from tweenlet.video import journal, scene_detection
from tweenlet.video.container import Clip
from tweenlet.video.frame import Frame
from tweenlet.video.journal import Coded
from tweenlet.video.picture_encoder import Places, representable, time_base_of

ENGINES = ("ray",)
"""Kinds of cluster."""
RETRIES = 3
"""Retries of a segment, on another worker, after a worker died or could not read or write."""
AHEAD = 2
"""Segments in flight per core or GPU of the cluster: one running and one waiting."""


class Farm:
    """Runs a job on other machines.

    Args:
        job: the arguments of the run.
        on: one of ENGINES.

    Raises:
        ValueError: an option that a farm does not support; the message says what is expected instead.

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
        """The job for this machine, which only walks."""
        self._times: list[Fraction] = []  # of the source's frames so far

    def leave_pictures(self, frames: Iterable[SourceFrame[Frame]]) -> Iterator[SourceFrame[Any]]:
        """Replace the pictures of a source by their numbers and fingerprints, for the walk."""
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
        """Have all unsaved segments encoded by workers, and pass them to the writer.

        Args:
            walk: a timeline of frames without pictures; it also counts the network's runs in workers.
            reader: the source of those frames.
            writer: the output.
            rate: frames per second of the output.
            report: called repeatedly with the number of frames done and the time of the latest.

        Returns:
            Number of frames written.

        Raises:
            ValueError: an output that is not written in segments.
            OSError: Ray is not installed, a worker cannot read the source, or a segment failed on every
                retry.

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
        """The segment that begins with frame ``first``, called right after the frame before it."""
        body = BytesIO()
        pickler = WalkPickler(body)
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
        """A function that submits a segment, and how many the cluster can run at once."""
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
        slots = max(1, int(resources.get("GPU" if on_gpu else "CPU", 1)))  # some clusters scale up on demand
        return lambda segment: task.remote(shared, segment), slots


def import_ray() -> Any:
    """Import Ray with its usage reports off; OSError, with what to type, if it is not installed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    return import_extra("ray")


@contextmanager
def connect() -> Iterator[Any]:
    """Connect Ray to the cluster in RAY_ADDRESS or running on this machine, else to this machine's cores.

    An existing connection of the process is reused.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray's handler would end this process without clean-up
    try:
        yield ray
    finally:
        ray.shutdown()


def _result(ray: Any, task: Any) -> tuple[list[Coded], int, int]:
    """The result of a task; if it failed, its own error or an OSError of one line."""
    try:
        result: tuple[list[Coded], int, int] = ray.get(task)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise OSError(f"a segment could not be made, tried {RETRIES + 1} times: {error}") from None
    return result
