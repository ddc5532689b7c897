"""Video: interpolate a video file.

source ── video.read ──> Timeline ──> video.write
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from tweenlet import video
from tweenlet.interpolation.frame_stream import find_unmade
from tweenlet.interpolation.job import Job, Ready, for_source
from tweenlet.interpolation.keyframes import LONGEST_RUN, SourceFrame
from tweenlet.interpolation.lanes import in_lanes
from tweenlet.interpolation.load import choose_engine
from tweenlet.interpolation.pictures import Picture
from tweenlet.interpolation.prefetch import DeviceCopier, WriteQueue, prefetch
from tweenlet.interpolation.timeline import Timeline
from tweenlet.interpolation.timing import Rate
from tweenlet.runtime.arrays import to_numpy
from tweenlet.runtime.atomic import atomic_write
from tweenlet.video.frame import Frame
from tweenlet.video.images import ImageEncoder
from tweenlet.video.retiming import TimeMap

NOT_OF_JOB = ("on", "overwrite", "progress", "observe")
"""Arguments of :func:`interpolate_video` that do not change what is written."""
Report = Callable[[int, Fraction, Picture | None], None]
"""Called after each frame with the number so far, its time and its picture, None on another machine."""

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tweenlet.interpolation.farm import Farm
    from tweenlet.interpolation.interpolator import Interpolator
    from tweenlet.interpolation.lite import LiteInterpolator


@dataclass(frozen=True)
class Summary:
    """Summary of one run of :func:`interpolate_video`.

    Examples:
        >>> summary = tweenlet.interpolate_video("in.mp4", "slow.mp4", slow=2)
        >>> summary.frames_in, summary.frames_out, summary.cuts
        (4, 7, 0)

    """

    frames_in: int
    """Frames read."""
    frames_out: int
    """Frames written."""
    frames_made: int
    """Runs of the network; more than frames written where finer frames depend on coarser ones."""
    cuts: int
    """Hard cuts found."""
    seconds: float
    """Wall-clock time of the run."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    rate_in: Fraction
    """Average frames per second of the source."""
    rate_out: Fraction
    """Frames per second of the output."""
    engine: str
    """Engine used; with "auto", the one it chose. Tiles of gated networks always run in eager."""
    frames_kept: int = 0
    """Source frames shown unchanged."""
    repeats: int = 0
    """Source frames that repeat the previous one."""
    notices: tuple[video.Notice, ...] = ()
    """Damage and gaps in the source with their times, and streams that the output cannot hold."""


@dataclass(frozen=True)
class Moment:
    """The latest output frame of :func:`interpolate_video`."""

    number: int
    """Frames so far."""
    total: int | None
    """Estimated total of frames; None if unknown."""
    time: Fraction
    """Seconds of the output."""
    picture: Picture | None
    """RGB (3, H, W) in [0, 1], or RGBA (4, H, W); None if another machine made it."""

    def save(self, path: str | Path) -> None:
        """Write the picture as a PNG, JPEG, TIFF or WebP image, atomically; ValueError if there is none."""
        if self.picture is None:
            raise ValueError("there is no picture here: it was made on another machine")
        encoder = ImageEncoder(Path(path).suffix, 8)
        with atomic_write(Path(path), shared=True) as partial:
            encoder.write(to_numpy(self.picture[:3]).clip(0, 1), partial)


def interpolate_video(
    src: str | Path | Sequence[str | Path],
    dst: str | Path,
    *,
    factor: int | None = None,
    fps: Rate | None = None,
    slow: Rate | None = None,
    speed: str | TimeMap | None = None,
    start: Fraction | float | str = 0,
    end: Fraction | float | str | None = None,
    keep_frames: bool = False,
    loop: bool = False,
    shutter: float = 0,
    replace: str = "",
    max_recursion: int = 3,
    model: str | Path | nn.Module = "default",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "float32",
    engine: str | None = None,
    rate: Rate | None = None,
    cuts: bool = True,
    repeats: str = "keep",
    longest_run: int = LONGEST_RUN,
    tile: int | str | None = "auto",
    flow_scale: float | str = "auto",
    overwrite: bool = False,
    encoding: video.Encoding | None = None,
    deinterlace: bool = False,
    stream: int | None = None,
    strict: bool = False,
    resume: bool = False,
    on: str | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    observe: Callable[[Moment], None] | None = None,
) -> Summary:
    """Write a smoother or slower version of a video.

    `factor` excludes `fps`, `slow` and `speed`; `slow` excludes `speed`. Without any of them, the frame rate
    is doubled.

    Args:
        src: a video file, a URL, a folder or glob of images, a list of image paths, or "-" (y4m on stdin).
        dst: a video file (.mp4, .m4v, .mov, .mkv, .webm, .y4m), a folder for images or a pattern such as
            "out/%05d.png", or "-" (y4m on stdout). It appears when complete, or not at all.
        factor: output frames per source frame, 2 or more.
        fps: output frame rate, such as 60 or "60000/1001"; it may be below the source's. Source frames that
            fall on an output time are shown unchanged.
        slow: slow-motion factor above 1: the clip lasts this many times longer, at the source's frame rate
            or at `fps`. Sound is stretched without change of pitch; subtitles and chapters follow the
            pictures.
        speed: speeds over source time, "0:1 2.5:0.25 4:1", the path of a file with such points, or a
            :class:`~tweenlet.video.retiming.TimeMap`; seconds count from `start`. Otherwise as `slow`.
        start: source time to begin at, in seconds or as "1:30.5"; output times count from the first frame at
            or after it.
        end: source time to end before; None = the end.
        keep_frames: with `fps`, show every source frame, in the output frame nearest to its time.
        loop: lead the last frame back to the first, which then is not shown again.
        shutter: shutter angle in degrees, up to 360: each output frame is the mean of 8 frames in linear
            light. Without `factor` and `fps` the frame rate stays.
        replace: numbers of source frames, counted from 0, to remake from their neighbours, such as
            "117,240-243". Without `factor` and `fps` the frame rate stays.
        max_recursion: maximum recursion depth (1 to 8) of networks that only predict the midpoint. Times are
            rounded to 2^-max_recursion of the source interval unless the factor is a power of 2.
        model: name of bundled weights, path to a checkpoint, or a network.
        device: device to run on; None = CUDA if available, else the CPU.
        dtype: precision of the network: "float32", "bfloat16" or "float16", or a torch.dtype.
        engine: as in :class:`Interpolator`; or "lite", ONNX Runtime on a CPU, for the
            default network and others of its config. None = "eager", or "lite" without PyTorch.
        rate: frames per second of a source of images; default 24.
        cuts: detect hard cuts and create no frames across them.
        repeats: what to do with frames that repeat the previous one: "keep" shows them unchanged, "smooth"
            interpolates across them, "ignore" treats every frame as new.
        longest_run: with "smooth", the longest run of one picture to interpolate, in frames, 2 or more;
            longer runs are held.
        tile: longest side of a tile in pixels, as in :class:`Interpolator`; "auto" tiles frames that would
            take much memory, None never does.
        flow_scale: size of the frames on which the network estimates motion, as in :class:`Interpolator`.
        overwrite: replace `dst` if it exists.
        encoding: codec, quality, pixel format and sound of the output; None = chosen by the kind of file.
        deinterlace: make one picture of every two fields (FFmpeg's bwdif). Otherwise the notices name an
            interlaced source.
        stream: index of the video stream among all streams of `src`; None = the default stream, or the
            largest that has frames.
        strict: raise an error for a damaged or truncated source. Otherwise the readable part is used, and
            :attr:`Summary.notices` describes the rest.
        resume: resume an earlier call with the same arguments that was killed, and be resumable: encoded
            frames are kept in a file beside `dst` until it is complete. For video files, and models by name.
        on: "ray" to run on a Ray cluster (:mod:`.farm`): the one in RAY_ADDRESS or running on this machine,
            else this machine's cores. The output is the same. Needs `resume`, an engine by name, and a source
            that all workers can read.
        progress: called after each frame with the number of frames written and the estimated total (None if
            unknown). An exception it raises ends the run, and nothing is written.
        observe: called after each frame with a :class:`Moment`.

    Returns:
        Counts, rates, the engine used, and notices about the source.

    Raises:
        OSError: a file cannot be read or written (FileNotFoundError, FileExistsError, PermissionError, ...).
        ValueError: conflicting options; an unknown model, device or engine; a source that is no video, has
            fewer than two frames or frames of different sizes; a damaged source if `strict`.

    Examples:
        >>> summary = tweenlet.interpolate_video("in.mp4", "out.mp4", fps=60)
        >>> summary.rate_in, summary.rate_out
        (Fraction(25, 1), Fraction(60, 1))

    """
    engine = choose_engine(engine)
    job = Job(**{name: value for name, value in locals().items() if name not in NOT_OF_JOB})
    began = time.monotonic()
    farm = None if on is None else _start_farm(job, on)
    local = job if farm is None else farm.local
    timing, copier = job.timing, DeviceCopier(local.place)  # raises for conflicting options
    with ExitStack() as stack:
        reader = stack.enter_context(job.read())
        incoming = local.frames(reader, copier)
        source = stack.enter_context(prefetch(incoming if farm is None else farm.leave_pictures(incoming)))
        network = local.load_network()
        timeline = _start_timeline(job, reader, source, network)
        report = _reporter(_estimate_total(job, reader), progress, observe)
        _, rate = job.rates(reader)
        writer = video.write(
            dst, reader, rate, overwrite=overwrite, time_map=timing.time_map,
            encoding=encoding or video.Encoding(), job=job.identity,
        )  # fmt: skip
        with writer:
            if farm is None:
                lanes = network.lanes(reader.height, reader.width)
                written = _make_frames(timeline, lanes, writer, copier, report)
            else:
                written = farm.make_segments(timeline, reader, writer, rate, report)
    return _summarise(
        job, reader, writer, timeline, written, network.engine if farm is None else engine, began
    )  # fmt: skip


def _start_farm(job: Job, on: str) -> Farm:
    from tweenlet.interpolation.farm import Farm  # it needs PyTorch, as its workers do

    return Farm(job, on)


def _start_timeline(
    job: Job,
    reader: video.Reader,
    source: Iterator[SourceFrame[Frame]],
    network: Interpolator | LiteInterpolator,
) -> Timeline[Frame]:
    """Build the timeline of a job; ValueError for a source or network that does not suit its options."""
    rate, _ = job.rates(reader)
    timeline = Timeline(
        source, for_source(network, reader), job.timing, rate, cuts=job.cuts, repeats=job.repeats,
        longest_run=job.longest_run, transfer=reader.transfer,
    )  # fmt: skip
    frames = timeline.source
    if not frames.has(1):
        raise ValueError(f"{reader.name}: expected two frames or more, got {frames.taken}")
    job.timing.check(rate, frames.usual_interval(0), network.takes_time, reader.name)
    return timeline


def _estimate_total(job: Job, reader: video.Reader) -> int | None:
    """Estimate the number of output frames; None if the source does not state its own."""
    if not reader.frame_count:
        return None
    rate_in, rate_out = job.rates(reader)
    length = job.timing.time_map.output_time((reader.frame_count - (not job.loop)) / rate_in)
    return ceil(length * rate_out) + (not job.loop)


def _reporter(
    total: int | None,
    progress: Callable[[int, int | None], None] | None,
    observe: Callable[[Moment], None] | None,
) -> Report:
    """Combine both callbacks of :func:`interpolate_video`."""

    def report(number: int, time: Fraction, picture: Picture | None) -> None:
        if progress is not None:
            progress(number, total)
        if observe is not None:
            observe(Moment(number, total, time, picture))

    return report


def _summarise(
    job: Job,
    reader: video.Reader,
    writer: video.Writer,
    timeline: Timeline[Frame],
    written: int,
    engine: str,
    began: float,
) -> Summary:
    frames = timeline.source
    count = frames.taken - frames.encores
    rate_in, rate_out = job.rates(reader)
    notices = [*reader.notices, *(video.Notice("output", warning) for warning in writer.warnings)]
    notices += [video.Notice("replace", reason) for reason in find_unmade(job.remake, count, job.loop)]
    return Summary(
        frames_in=count, frames_out=written, frames_made=timeline.made,
        cuts=frames.cuts, seconds=time.monotonic() - began, width=reader.width, height=reader.height,
        rate_in=rate_in, rate_out=rate_out, engine=engine,
        frames_kept=timeline.originals, repeats=frames.repeats, notices=tuple(notices),
    )  # fmt: skip


def _make_frames(
    timeline: Timeline[Frame],
    lanes: int,
    writer: video.Writer,
    copier: DeviceCopier,
    report: Report,
) -> int:
    """Compute and write all frames that are not saved; returns the total."""
    timeline.skipped = writer.saved
    written = 0
    queueing = WriteQueue[Callable[[], None]](lambda write: write())
    with in_lanes(timeline, lanes) as outputs, queueing as queue:
        for written, output in enumerate(outputs, start=1):
            if written <= writer.saved:
                queue.put(partial(writer.skip, output.time, output.duration))
            else:
                queue.put(partial(Ready.of(output, copier).write, writer))
            report(written, output.time, output.picture)
    return written
