"""From files to files: a video, or the images between two.

source ── video.read ──> Timeline ──> video.write
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import torch
from torch import nn

from tweenlet import video
from tweenlet.inference import engines
from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.interpolation.keyframes import SourceFrame
from tweenlet.interpolation.prefetch import DeviceCopier, HostCopy, WriteQueue, prefetch
from tweenlet.interpolation.timeline import OutputFrame, Timeline
from tweenlet.interpolation.timing import OutputTiming, Rate, exact_rate
from tweenlet.network import checkpoint as weights
from tweenlet.runtime.atomic import check_free
from tweenlet.runtime.devices import resolve_device
from tweenlet.video.frame import Frame
from tweenlet.video.images import ImageEncoder, is_image


@dataclass(frozen=True)
class Summary:
    """What one run of :func:`interpolate_video` did."""

    frames_in: int
    frames_out: int
    frames_made: int
    """Runs of the network; more than it wrote where finer frames rest on coarser ones."""
    cuts: int
    seconds: float
    width: int
    height: int
    rate_in: Fraction
    rate_out: Fraction
    engine: str
    """Engine used; of "auto" the one it chose. Tiles of gated networks always run in eager."""
    frames_kept: int = 0
    """Source frames shown as they came."""
    repeats: int = 0
    """Source frames that repeat the one before."""
    notices: tuple[video.Notice, ...] = ()
    """What is damaged or missing in the source and when, and what of it is not kept."""


def interpolate_video(
    src: str | Path | Sequence[str | Path],
    dst: str | Path,
    *,
    factor: int | None = None,
    fps: Rate | None = None,
    slow: Rate | None = None,
    max_recursion: int = 3,
    model: str | Path | nn.Module = "default",
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    engine: str = "eager",
    rate: Rate | None = None,
    cuts: bool = True,
    repeats: str = "keep",
    tile: int | str | None = "auto",
    overwrite: bool = False,
    stream: int | None = None,
    strict: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> Summary:
    """Write a smoother or a slower video. At most one of `factor`, `fps` and `slow` is given.

    Args:
        src: a video file, a folder or glob of images, a list of image paths, or "-" (y4m on stdin).
        dst: a video file, a folder or pattern of images, or "-" (y4m on stdout). Appears whole or not at all.
        factor: times as many frames, 2 or more; 2 if nothing else is asked for.
        fps: a rate at or above the source's. Source frames whose time is met exactly are shown as they are.
        slow: slow-motion factor above 1: so many times as long, at the same rate, without sound.
        max_recursion: of a network that only makes the middle, how often the interval between two frames
            may be halved: times are rounded to 2^-max_recursion of it unless the factor is a power of 2.
        model: a shipped name, a checkpoint's path, or a network.
        device: None = a CUDA device if there is one, else the CPU.
        dtype: as in :class:`Interpolator`.
        engine: as in :class:`Interpolator`.
        rate: frames per second of a source of images (24 if not given); a video has its own.
        cuts: whether to look for cuts, and to make nothing across them.
        repeats: what becomes of frames that repeat the one before: "keep" shows them as they are, "smooth"
            moves through up to six of them, "ignore" takes every frame for new.
        tile: as in :class:`Interpolator`; "auto" cuts where whole frames would take much memory.
        overwrite: whether an existing `dst` may be replaced.
        stream: which video of `src`, counted among all its streams; None = the one marked as default, or the
            largest that has frames.
        strict: refuse a source that is damaged or cut short. If not, what can be read of it is used, and
            :attr:`Summary.notices` tells what was not.
        progress: called with the frames written so far and an estimate of them all (None where unknown).

    Raises:
        OSError: (FileNotFoundError, FileExistsError, ...) files that cannot be read or written.
        ValueError: options that do not go together, an unknown model, device or engine, and a source that is
            no video, has under two frames or frames of several sizes, or is damaged and `strict`.

    """
    began = time.monotonic()
    timing, copier = OutputTiming(factor, fps, slow, max_recursion), DeviceCopier(resolve_device(device))
    with (
        video.read(src, None if rate is None else exact_rate(rate), stream=stream, strict=strict) as reader,
        prefetch(_on_device(reader, copier)) as source,
    ):
        interpolator = _interpolator(model, device, dtype, engine, tile)
        rate_in = reader.rate or video.IMAGE_RATE
        timeline = Timeline(source, interpolator, timing, rate_in, cuts=cuts, repeats=repeats)
        frames = timeline.source
        if not frames.has(1):
            raise ValueError(f"{reader.name}: expected two frames or more, got {frames.taken}")
        timing.check(rate_in, frames.usual_interval, interpolator.takes_time, reader.name)
        dense = timing.dense_rate(rate_in)
        total = round((reader.frame_count - 1) * dense / rate_in) + 1 if reader.frame_count else None
        rate_out, written = dense / timing.stretch, 0
        writer = video.write(dst, reader, rate_out, overwrite=overwrite, sound=slow is None)
        with writer, WriteQueue(partial(_write, writer)) as queue:
            for written, output in enumerate(timeline, start=1):
                queue.put(_Ready(output, copier.to_host(output.picture) if output.source is None else None))
                if progress is not None:
                    progress(written, total)
    return Summary(
        frames_in=frames.taken, frames_out=written, frames_made=timeline.made, cuts=frames.cuts,
        seconds=time.monotonic() - began, width=reader.width, height=reader.height,
        rate_in=rate_in, rate_out=rate_out, engine=engines.running(interpolator.model),
        frames_kept=timeline.originals, repeats=frames.repeats,
        notices=(*reader.notices, *(video.Notice("output", warning) for warning in writer.warnings)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Ready:
    """A frame to be written, and the copy of its picture if it was made."""

    frame: OutputFrame[Frame]
    copy: HostCopy | None


def _write(writer: video.Writer, ready: _Ready) -> None:
    frame = ready.frame
    before, after = (source.original for source in frame.between)
    if ready.copy is None:
        writer.write(before, frame.time, frame.duration)
    else:
        writer.write(ready.copy.wait().numpy(), frame.time, frame.duration, (before, after))


def _on_device(frames: Iterable[Frame], copier: DeviceCopier) -> Iterator[SourceFrame[Frame]]:
    for frame in frames:
        picture = copier.to_device(torch.from_numpy(frame.rgb(clip=False)))
        yield SourceFrame(frame, picture, frame.time, frame.duration)


def interpolate_pair(
    before: str | Path,
    after: str | Path,
    dst: str | Path,
    *,
    factor: int = 2,
    model: str | Path | nn.Module = "default",
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    engine: str = "eager",
    tile: int | str | None = "auto",
    overwrite: bool = False,
) -> list[Path]:
    """Write the factor - 1 images between two, and return their paths.

    For one image that is `dst` itself; for more, "mid.png" becomes mid.1.png, mid.2.png, ... Each appears
    whole or not at all. The two are taken for one scene, however they differ. Raises as
    :func:`interpolate_video` does.
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
        frames = [frame.rgb() for frame in real]
        encoder = ImageEncoder(dst.suffix, reader.bits, reader.orientation)
    interpolator = _interpolator(model, device, dtype, engine, tile)
    made = list(interpolator(frames, factor, cuts=False, repeats="ignore"))[1:-1]
    with video.write_files(targets) as partials:
        for partial, picture in zip(partials, made, strict=True):
            encoder.write(picture, partial, real)
    return targets


def _interpolator(
    model: str | Path | nn.Module,
    device: str | torch.device | None,
    dtype: torch.dtype,
    engine: str,
    tile: int | str | None,
) -> Interpolator:
    device = resolve_device(device)
    network = model if isinstance(model, nn.Module) else weights.load(model, device=str(device))
    return Interpolator(network, device=device, dtype=dtype, engine=engine, tile=tile)
