"""From files to files: a video, or the images between two.

source ── video.read ──> Timeline ──> video.write
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import torch
from torch import Tensor, nn

from tweenlet import engines, video, weights
from tweenlet.devices import device_of
from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.interpolation.prefetch import Ferry, ahead, behind
from tweenlet.interpolation.timing import Pace, check_factor, exact_rate
from tweenlet.video.frame import Frame
from tweenlet.video.images import ImageEncoder, is_image

Between = tuple[Frame, Frame]


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
    """What was asked to run the network; of "auto" the one it chose. Tiles that must agree are eager's."""
    notices: tuple[video.Notice, ...] = ()
    """What is damaged or missing in the source and when, and what of it is not kept."""


def interpolate_video(
    src: str | Path | Sequence[str | Path],
    dst: str | Path,
    *,
    factor: int | None = None,
    fps: float | str | Fraction | None = None,
    slow: int | None = None,
    depth: int = 3,
    model: str | Path | nn.Module = "default",
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    engine: str = "eager",
    rate: float | str | Fraction | None = None,
    cuts: bool = True,
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
        factor: 2, 4, 8, ... times as many frames; 2 if nothing else is asked for.
        fps: a rate at or above the source's; times are rounded to 2^-depth of the gap between real frames.
        slow: so many times as long, at the same rate, without sound.
        depth: how often a gap may be halved, for `fps` and for a `slow` that is no power of 2.
        model: a shipped name, a checkpoint's path, or a network.
        device: None = a CUDA device if there is one, else the CPU.
        dtype: as in :class:`Interpolator`.
        engine: as in :class:`Interpolator`.
        rate: frames per second of a source of images (24 if not given); a video has its own.
        cuts: whether to look for cuts, and to make nothing across them.
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
    pace = Pace(factor, fps, slow, depth)
    ferry = Ferry(device_of(device))
    with (
        video.read(src, None if rate is None else exact_rate(rate), stream=stream, strict=strict) as reader,
        ahead(_ready(reader, ferry)) as source,
    ):
        interpolator = _interpolator(model, device, dtype, engine, tile)
        rate_in = reader.rate or video.IMAGE_RATE
        reel = interpolator.reel(source, lambda ready: ready.picture, cuts)
        if not reel.has(1):
            raise ValueError(f"{reader.name}: expected two frames or more, got {reel.taken}")
        dense = pace.rate(rate_in, reader.name)
        total = round((reader.frame_count - 1) * dense / rate_in) + 1 if reader.frame_count else None
        stretch = slow or 1
        rate_out = dense / stretch
        with video.write(dst, reader, rate_out, overwrite=overwrite, sound=slow is None) as writer:

            def write(shown: tuple[Ready | Callable[[], Tensor], Fraction, Fraction, Between]) -> None:
                what, now, duration, between = shown
                if isinstance(what, Ready):
                    writer.write(what.frame, now * stretch, duration * stretch)
                else:
                    writer.write(what().numpy(), now * stretch, duration * stretch, between)

            written = 0
            with behind(write) as put:
                for written, (position, now, duration) in enumerate(pace.schedule(reel, dense), start=1):
                    frame = reel.at(position)
                    between = reel.real(floor(position)).frame, reel.real(ceil(position)).frame
                    shown = frame if isinstance(frame, Ready) else ferry.back(frame)
                    put((shown, now, duration, between))
                    if progress is not None:
                        progress(written, total)
    return Summary(
        frames_in=reel.taken, frames_out=written, frames_made=reel.made, cuts=reel.cuts,
        seconds=time.monotonic() - began, width=reader.width, height=reader.height,
        rate_in=rate_in, rate_out=rate_out, engine=engines.running(interpolator.model),
        notices=(*reader.notices, *(video.Notice("output", warning) for warning in writer.warnings)),
    )  # fmt: skip


@dataclass(frozen=True)
class Ready:
    """A frame of a video, and its picture (3, H, W) on the network's device; made where it was read."""

    frame: Frame
    picture: Tensor

    @property
    def time(self) -> Fraction:
        """When it is shown, in seconds."""
        return self.frame.time

    @property
    def duration(self) -> Fraction:
        """For how long, in seconds."""
        return self.frame.duration


def _ready(frames: Iterable[Frame], ferry: Ferry) -> Iterator[Ready]:
    for frame in frames:
        yield Ready(frame, ferry.over(torch.from_numpy(frame.rgb(clip=False))))


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
    check_factor(factor)
    dst = Path(dst)
    if not is_image(dst):
        raise ValueError(f"expected the name of a PNG, JPEG, TIFF or WebP image to write, got {dst}")
    targets = [dst] if factor == 2 else [dst.with_stem(f"{dst.stem}.{k}") for k in range(1, factor)]
    for target in targets:
        video.check_free(target, (before, after), overwrite)
    with video.read([before, after], strict=True) as reader:
        real = list(reader)
        frames = [frame.rgb() for frame in real]
        encoder = ImageEncoder(dst.suffix, reader.bits, reader.orientation)
    interpolator = _interpolator(model, device, dtype, engine, tile)
    made = list(interpolator(frames, factor, cuts=False))[1:-1]
    with video.whole(targets) as partials:
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
    device = device_of(device)
    network = model if isinstance(model, nn.Module) else weights.load(model, device=str(device))
    return Interpolator(network, device=device, dtype=dtype, engine=engine, tile=tile)
