"""Interpolate: a stream of frames in, a denser stream out.

    source ── Reel ── schedule: which positions, when ── real frames as they came, made ones from a network
                │
                └── Interpolator.middle: four frames -> pad -> network -> crop -> the frame in the middle

Padding and cropping live here and nowhere else. Frames are RGB in [0, 1].
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tweenlet import engines, video, weights
from tweenlet.config import ModelConfig
from tweenlet.devices import device_of
from tweenlet.flows import Flows
from tweenlet.network.blocks import Enlargement, Gate
from tweenlet.pipeline import Ferry, ahead, behind
from tweenlet.reel import Reel
from tweenlet.schedule import Pace, check_factor, exact_rate
from tweenlet.tiles import padded, tile_side, tiled
from tweenlet.video.frame import Frame
from tweenlet.video.images import ImageEncoder, is_image

Picture = TypeVar("Picture", NDArray[Any], Tensor)


class Interpolator:
    """Makes frames between frames with one network.

    Args:
        model: maps frames (1, 4, 3, H, W) to the frame in their middle (1, 3, H, W); its `stride` is what H
            and W must be multiples of. It is put into evaluation mode. Of a network of ours a copy made for
            inference is run (:mod:`tweenlet.network.fast`): what the network learns later, it does not know.
        device: where the model runs and is moved to; None = where it is.
        dtype: the precision it runs in, bfloat16 or float16 where that is safe, the rest in float32.
        engine: what runs the model: "eager" (PyTorch), "compile", "onnxruntime", "openvino"; or "auto", the
            fastest here, found once on the first frames. See :mod:`tweenlet.engines`. Tiles of a network with
            gates or enlarged kernels run eager, whatever is said here.
        pad_to: pad the frames to multiples of this (the official ST-MFNet code: 128); None = to the stride.
        tile: run large frames in overlapping tiles of so many pixels a side at most, so that memory has a
            bound; "auto" = where they would take much memory; None = never. See :mod:`tweenlet.tiles`.

    """

    def __init__(
        self,
        model: nn.Module,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        engine: str = "eager",
        pad_to: int | None = None,
        tile: int | str | None = None,
    ) -> None:
        if dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise ValueError(f"expected dtype float32, bfloat16 or float16, got {dtype}")
        stride = int(getattr(model, "stride", 1))
        if pad_to is not None and (pad_to < 1 or pad_to % stride):
            raise ValueError(f"expected pad_to to be a multiple of the model's stride {stride}, got {pad_to}")
        if device is None:
            device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.device = torch.device(device)
        self.model = engines.start(engine, model.to(self.device).eval(), dtype)
        # tiles agree on some of what is inside a network, which other engines do not show
        agreeing = any(isinstance(part, Gate | Enlargement) for part in model.modules())
        self._for_tiles = engines.start("eager", model, dtype) if agreeing and engine != "eager" else None
        self.dtype = dtype
        self.multiple = pad_to or stride
        self._side = tile_side(tile, self._for_tiles or self.model, self.device)
        config = getattr(model, "config", None)
        self.flows = Flows() if isinstance(config, ModelConfig) and config.flow == "dis" else None

    def middle(self, frames: Sequence[Tensor]) -> Tensor:
        """The frame in the middle of four, each (3, H, W), of any size; not clamped.

        A network with classical motion gets the flows of the window from a memory that goes by the identity
        of the tensors: do not change a frame in place between calls.
        """
        if len(frames) != 4:
            raise ValueError(f"expected four frames, got {len(frames)}")
        height, width = frames[0].shape[-2:]
        with torch.inference_mode():
            if (side := self._side(height, width)) is not None:
                moves = None if self.flows is None else self.flows.four(frames)
                model = self._for_tiles or self.model
                made = tiled(model, frames, moves, side, self.multiple, self.device)
            else:
                window = padded(torch.stack(list(frames)).to(self.device, torch.float32), self.multiple)
                flows: tuple[Tensor, ...] = ()
                if self.flows is not None:  # found on the frames as they are, going on beyond their borders
                    beyond = (0, window.shape[-1] - width, 0, window.shape[-2] - height)
                    flows = (F.pad(self.flows(frames)[0], beyond, "replicate").to(self.device).unsqueeze(0),)
                made = self.model(window.unsqueeze(0), *flows)[0, :, :height, :width]
        return made.float().clone()  # a plain tensor, of use to autograd too

    def reel(self, frames: Iterable[Any], picture: Callable[[Any], Tensor], cuts: bool = True) -> Reel[Any]:
        """A pass over frames of any kind, of which `picture` gives the tensors (3, H, W)."""
        return Reel(
            frames,
            lambda frame: picture(frame).to(self.device, torch.float32),
            lambda four: self.middle(four).clamp_(0, 1),
            cuts,
        )

    def __call__(self, frames: Iterable[Picture], factor: int = 2, *, cuts: bool = True) -> Iterator[Picture]:
        """A stream of frames, `factor` (2, 4, 8, ...) times as dense: n frames give factor * (n - 1) + 1.

        Frames are (3, H, W), RGB, float in [0, 1], all numpy arrays or all tensors; the made ones are of
        the same kind (and dtype and device). Those that came in go out as they are. Only a few are held at
        any time. With `cuts`, nothing is made across a hard cut: the nearer frame is repeated. ValueError
        for frames of another kind.
        """
        check_factor(factor)
        reel = self.reel(frames, _tensor, cuts)
        for index in count():
            if not reel.has(index):
                return
            yield (frame := reel.real(index))
            for k in range(1, factor if reel.has(index + 1) else 1):
                yield _like(frame, reel.at(index + Fraction(k, factor)))


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
        progress: called with the frames written so far and an estimate of them all (None where unknown).

    Raises:
        OSError: (FileNotFoundError, FileExistsError, ...) files that cannot be read or written.
        ValueError: options that do not go together, an unknown model, device or engine, and a source that is
            no video, has under two frames or frames of several sizes.

    """
    began = time.monotonic()
    pace = Pace(factor, fps, slow, depth)
    ferry = Ferry(device_of(device))
    with (
        video.read(src, None if rate is None else exact_rate(rate)) as reader,
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

            def write(shown: tuple[Ready | Callable[[], Tensor], Fraction, Fraction]) -> None:
                what, now, duration = shown
                frame = what.frame if isinstance(what, Ready) else what().numpy()
                writer.write(frame, now * stretch, duration * stretch)

            written = 0
            with behind(write) as put:
                for written, (position, now, duration) in enumerate(pace.schedule(reel, dense), start=1):
                    frame = reel.at(position)
                    put((frame if isinstance(frame, Ready) else ferry.back(frame), now, duration))
                    if progress is not None:
                        progress(written, total)
    return Summary(
        frames_in=reel.taken, frames_out=written, frames_made=reel.made, cuts=reel.cuts,
        seconds=time.monotonic() - began, width=reader.width, height=reader.height,
        rate_in=rate_in, rate_out=rate_out, engine=engines.running(interpolator.model),
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
        yield Ready(frame, ferry.over(torch.from_numpy(frame.rgb())))


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
    with video.read([before, after]) as reader:
        frames = [frame.rgb() for frame in reader]
        encoder = ImageEncoder(dst.suffix, reader.bits, reader.turns)
    interpolator = _interpolator(model, device, dtype, engine, tile)
    made = list(interpolator(frames, factor, cuts=False))[1:-1]
    with video.whole(targets) as partials:
        for partial, picture in zip(partials, made, strict=True):
            encoder.write(picture, partial)
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


def _tensor(frame: Any) -> Tensor:
    if not isinstance(frame, np.ndarray | Tensor):
        raise ValueError(f"expected frames as numpy arrays or tensors, got {type(frame).__name__}")
    picture = torch.from_numpy(frame) if isinstance(frame, np.ndarray) else frame
    if picture.ndim != 3 or picture.shape[0] != 3 or not picture.is_floating_point():
        raise ValueError(
            f"expected float frames (3, H, W) in [0, 1], got {picture.dtype} {tuple(picture.shape)}"
        )
    return picture


def _like(frame: Picture, made: Any) -> Picture:
    """What was made, or repeated, as the same kind of array as a frame that came in."""
    if isinstance(frame, np.ndarray):
        return made if isinstance(made, np.ndarray) else made.cpu().numpy().astype(frame.dtype, copy=False)
    repeated_or_made: Tensor = made.to(frame.device, frame.dtype)
    return repeated_or_made
