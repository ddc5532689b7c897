"""Segments: work for a farm's workers, and the encoded pictures they return.

walk --WalkPickler--> Segment ──> worker: frames read again, timeline gone on, network, encoder ──> packets
"""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator
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
from tweenlet.video import scene_detection
from tweenlet.video.container import Clip
from tweenlet.video.frame import Frame
from tweenlet.video.journal import Coded
from tweenlet.video.picture_encoder import open_encoder


class FrameNumber(int):
    """Placeholder of a source frame; a tensor of one value is that of its picture."""


@dataclass(frozen=True)
class Segment:
    """Frames for a worker to produce, and the state to start from."""

    first: int
    """Number of its first frame."""
    end: int
    """Number after its last frame, unless the output ends before."""
    place: int
    """Time of the frame before it, in units of the encoder's time base."""
    timeline: bytes
    """The walk at the start of an earlier interval, pickled without pictures."""
    held: frozenset[int]
    """Numbers of the source frames that the walk holds at that point."""
    latest: SourceFrame[Any]
    """The last of these frames."""
    reading: tuple[tuple[Clip, int, Fraction], ...]
    """Parts of the file to read them from, with number and time of the first frame. The whole file is last,
    in case decoding from a key frame gives other frames than the walk saw."""


def encode_segment(
    shared: tuple[Job, Fraction, list[tuple[str, int, int]], list[str]], segment: Segment
) -> tuple[list[Coded], int, int]:
    """Produce a segment, in a worker; returns its packets, the number of frames, and runs of the network.

    Raises:
        OSError: the files are missing or differ on this machine, or decode to different frames.
        ValueError: package versions differ.

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
    """Check that this machine has the same files and package versions."""
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
    """The frames that a segment's timeline holds, by number; None if they differ from those the walk saw."""
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


class WalkPickler(pickle.Pickler):
    """Pickles a walk with numbers in place of frames and pictures, and collects the numbers."""

    def __init__(self, file: BytesIO) -> None:
        super().__init__(file)
        self.held: set[int] = set()

    def persistent_id(self, value: Any) -> tuple[str, int] | None:
        """Identifier of a frame or picture; None for other objects."""
        if not isinstance(value, (Tensor, FrameNumber)):
            return None
        self.held.add(int(value))
        return "picture" if isinstance(value, Tensor) else "original", int(value)


class _Unpickler(pickle.Unpickler):
    """Unpickles a walk with frames and pictures filled in."""

    def __init__(self, file: BytesIO, frames: dict[int, SourceFrame[Frame]]) -> None:
        super().__init__(file)
        self._frames = frames

    def persistent_load(self, saved: tuple[str, int]) -> Any:
        """The frame or picture with an identifier."""
        kind, number = saved
        return getattr(self._frames[number], kind)
