"""From files to files: a video, or the images between two.

source ── video.read ──> Timeline ──> video.write
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
from tweenlet.interpolation.keyframes import LONGEST_RUN
from tweenlet.interpolation.load import choose_engine, load_interpolator
from tweenlet.interpolation.pictures import Picture
from tweenlet.interpolation.prefetch import DeviceCopier, WriteQueue, prefetch
from tweenlet.interpolation.sequences import interpolate
from tweenlet.interpolation.timeline import Timeline
from tweenlet.interpolation.timing import OutputTiming, Rate
from tweenlet.runtime.arrays import to_numpy
from tweenlet.runtime.atomic import atomic_write, check_free
from tweenlet.video.frame import Frame
from tweenlet.video.images import ImageEncoder, is_image
from tweenlet.video.retiming import TimeMap

NOT_OF_JOB = ("on", "overwrite", "progress", "observe")
"""Arguments of :func:`interpolate_video` that do not change what is written."""

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tweenlet.interpolation.farm import Farm


@dataclass(frozen=True)
class Summary:
    """What one run of :func:`interpolate_video` did.

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
    """Runs of the network; more than were written where finer frames depend on coarser ones."""
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
    """What is damaged or missing in the source and when, and what the output does not hold."""


@dataclass(frozen=True)
class Moment:
    """A frame of the output of :func:`interpolate_video`, just made."""

    number: int
    """Frames so far."""
    total: int | None
    """Frames in all, an estimate; None if unknown."""
    time: Fraction
    """Seconds of the output."""
    picture: Picture | None
    """RGB (3, H, W) in [0, 1], or with its opacity (4, H, W); None if it was made on another machine."""

    def save(self, path: str | Path) -> None:
        """Write the picture as a PNG, JPEG, TIFF or WebP image, which appears whole; ValueError for none."""
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

    `factor` goes with none of `fps`, `slow` and `speed`, and `slow` not with `speed`; without any of them,
    the frame rate is doubled.

    Args:
        src: a video file, a URL, a folder or glob of images, a list of image paths, or "-" (y4m on stdin).
        dst: a video file (.mp4, .m4v, .mov, .mkv, .webm, .y4m), a folder for images or a pattern such as
            "out/%05d.png", or "-" (y4m on stdout). It appears once it is complete, or not at all.
        factor: output frames per source frame, 2 or more.
        fps: output frame rate, such as 60 or "60000/1001"; it may be below the source's. Source frames that
            fall on an output time are shown unchanged.
        slow: slow-motion factor above 1: the clip lasts this many times longer, at the source's frame rate
            or at `fps`. Sound is stretched at its own pitch, subtitles and chapters keep to the pictures.
        speed: speeds over the source's time, "0:1 2.5:0.25 4:1", the name of a file that holds such points,
            or a :class:`~tweenlet.video.retiming.TimeMap`; seconds count from `start`. Otherwise as `slow`.
        start: second of the source to begin at, a number or such as "1:30.5"; times count from the first
            frame that begins then or later.
        end: second of the source to end before; None = its end.
        keep_frames: with `fps`, show every source frame, in the output frame nearest to its time.
        loop: lead the last frame back to the first, which then is not shown again.
        shutter: degrees for which a shutter is open, up to 360: each output frame is the mean of the light
            of 8 frames.
            Without `factor` and `fps` the frame rate stays.
        replace: numbers of source frames, counted from 0, to be remade from their neighbours, such as
            "117,240-243". Without `factor` and `fps` the frame rate stays.
        max_recursion: how often the interval between two frames may be halved (1 to 8), for networks that
            only make the middle frame. Times are rounded to 2^-max_recursion of the interval unless the
            factor is a power of 2.
        model: name of bundled weights, path to a checkpoint, or a network.
        device: where the network runs; None = a CUDA device if there is one, else the CPU.
        dtype: precision of the network: "float32", "bfloat16" or "float16", or PyTorch's own.
        engine: what runs the network, as in :class:`Interpolator`; or "lite", ONNX Runtime on a CPU, for the
            default network and others of its config. None = "eager", or "lite" without PyTorch.
        rate: frames per second of a source of images, 24 by default; a video has its own.
        cuts: detect hard cuts and create no frames across them.
        repeats: what to do with frames that repeat the previous one: "keep" shows them unchanged, "smooth"
            interpolates across them, "ignore" treats every frame as new.
        longest_run: with "smooth", the frames for which one picture may be shown, 2 or more; longer runs
            are held.
        tile: longest side of a tile in pixels, as in :class:`Interpolator`; "auto" tiles frames that would
            take much memory, None never does.
        overwrite: replace `dst` if it exists.
        encoding: codec, quality, pixel format and sound of the output, where the kind of file is not to
            decide.
        deinterlace: make one picture of every two fields (FFmpeg's bwdif). Otherwise a source that is
            interlaced is named in the notices.
        stream: index of the video stream to read, counted among all streams of `src`; None = the one marked
            as default, or the largest that has frames.
        strict: refuse a source that is damaged or cut short. Otherwise what can be read is used, and
            :attr:`Summary.notices` says what could not.
        resume: go on where an earlier call of the same arguments was killed, and keep what is done should
            this one be: the encoded frames are in a file beside `dst` until it is complete. For video files,
            and models by name.
        on: "ray" to have the frames made by the machines of a Ray cluster (:mod:`.farm`): the one that
            RAY_ADDRESS names or that runs on this machine, else one of this machine's cores. The file is that
            of a call without. It takes `resume`, an engine by name, and a source that all of them can read.
        progress: called after each frame with the number of frames written and the estimated total (None if
            unknown). An exception that it raises ends the run, and nothing is written.
        observe: called after each frame with what can be shown of it.

    Returns:
        Counts, rates, the engine used, and notices about the source.

    Raises:
        OSError: a file cannot be read or written (FileNotFoundError, FileExistsError, PermissionError ...).
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
    timing, copier = job.timing, DeviceCopier(local.place)
    with ExitStack() as stack:
        reader = stack.enter_context(job.read())
        incoming = local.frames(reader, copier)
        source = stack.enter_context(prefetch(incoming if farm is None else farm.leave_pictures(incoming)))
        interpolator = local.load_network()
        rate_in = reader.rate or video.IMAGE_RATE
        network = for_source(interpolator, reader)
        timeline = Timeline(
            source, network, timing, rate_in, cuts=cuts, repeats=repeats, longest_run=longest_run,
            transfer=reader.transfer,
        )  # fmt: skip
        frames = timeline.source
        if not frames.has(1):
            raise ValueError(f"{reader.name}: expected two frames or more, got {frames.taken}")
        timing.check(rate_in, frames.usual_interval(0), interpolator.takes_time, reader.name)
        rate_out, written, total = timing.output_rate(rate_in), 0, None
        if reader.frame_count:
            length = timing.time_map.output_time((reader.frame_count - (not loop)) / rate_in)
            total = ceil(length * rate_out) + (not loop)

        def report(number: int, time: Fraction, picture: Picture | None) -> None:
            if progress is not None:
                progress(number, total)
            if observe is not None:
                observe(Moment(number, total, time, picture))

        writer = video.write(
            dst, reader, rate_out, overwrite=overwrite, time_map=timing.time_map,
            encoding=encoding or video.Encoding(), job=job.identity,
        )  # fmt: skip
        with writer:
            if farm is None:
                written = _make_frames(timeline, writer, copier, report)
            else:
                written = farm.make_segments(timeline, reader, writer, rate_out, report)
    count = frames.taken - frames.encores
    notices = [*reader.notices, *(video.Notice("output", warning) for warning in writer.warnings)]
    notices += [video.Notice("replace", reason) for reason in find_unmade(job.remake, count, loop)]
    return Summary(
        frames_in=count, frames_out=written, frames_made=timeline.made,
        cuts=frames.cuts, seconds=time.monotonic() - began, width=reader.width, height=reader.height,
        rate_in=rate_in, rate_out=rate_out, engine=interpolator.engine if farm is None else engine,
        frames_kept=timeline.originals, repeats=frames.repeats,
        notices=tuple(notices),
    )  # fmt: skip


def _start_farm(job: Job, on: str) -> Farm:
    from tweenlet.interpolation.farm import Farm  # it needs PyTorch, as its workers do

    return Farm(job, on)


def _make_frames(
    timeline: Timeline[Frame],
    writer: video.Writer,
    copier: DeviceCopier,
    report: Callable[[int, Fraction, Picture], None],
) -> int:
    """Make and write all frames but those that are saved; how many there are."""
    timeline.skipped = writer.saved
    written = 0
    with WriteQueue[Callable[[], None]](lambda write: write()) as queue:
        for written, output in enumerate(timeline, start=1):
            if written <= writer.saved:
                queue.put(partial(writer.skip, output.time, output.duration))
            else:
                queue.put(partial(Ready.of(output, copier).write, writer))
            report(written, output.time, output.picture)
    return written


def interpolate_pair(
    before: str | Path,
    after: str | Path,
    dst: str | Path,
    *,
    factor: int = 2,
    model: str | Path | nn.Module = "default",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "float32",
    engine: str | None = None,
    tile: int | str | None = "auto",
    overwrite: bool = False,
) -> list[Path]:
    """Write the images between two images of one scene.

    Args:
        before: the first image (PNG, JPEG, TIFF or WebP).
        after: the second image, of the same size.
        dst: the image to write. With a factor above 2 the images are numbered: "mid.png" becomes mid.1.png,
            mid.2.png ... Each appears once it is complete, or not at all.
        factor: one more than the number of images to write, 2 or more.
        model: as in :func:`interpolate_video`, like the following arguments.
        device: None = a CUDA device if there is one, else the CPU.
        dtype: precision of the network.
        engine: what runs the network.
        tile: longest side of a tile in pixels, "auto" or None.
        overwrite: replace images that exist.

    Returns:
        The paths of the images, in order.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: as for :func:`interpolate_video`, and a `dst` that is no image.

    Examples:
        >>> tweenlet.interpolate_pair("before.png", "after.png", "middle.png")
        [PosixPath('middle.png')]

    """
    OutputTiming(factor)
    dst = Path(dst)
    if not is_image(dst):
        raise ValueError(f"expected the name of a PNG, JPEG, TIFF or WebP image to write, got {dst}")
    targets = [dst] if factor == 2 else [dst.with_stem(f"{dst.stem}.{k}") for k in range(1, factor)]
    for target in targets:
        check_free(target, overwrite, (before, after))
    with video.read([before, after], strict=True) as reader:
        real = list(reader)
        encoder = ImageEncoder(dst.suffix, reader.bits, reader.orientation, reader.is_transparent)
        frames = [frame.rgba() if encoder.keeps_alpha else frame.rgb() for frame in real]
    interpolator = load_interpolator(model, device, dtype, engine, tile)
    pictures = interpolate(
        frames, factor=factor, channels="first", model=interpolator, cuts=False, repeats="ignore"
    )[1:-1]
    with video.write_files(targets) as partials:
        for partial, picture in zip(partials, pictures, strict=True):
            encoder.write(picture, partial, real)
    return targets
