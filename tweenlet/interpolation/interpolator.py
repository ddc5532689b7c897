"""Interpolate: a stream of frames in, a denser stream out.

    source ── Reel ── schedule: which positions, when ── real frames as they came, made ones from a network
                │
                └── Interpolator.middle: four frames -> pad -> network -> crop -> the frame in the middle

Padding and cropping live here and nowhere else. Frames are RGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import count
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tweenlet import engines
from tweenlet.config import ModelConfig
from tweenlet.interpolation.flow_cache import Flows
from tweenlet.interpolation.tiling import padded, tile_side, tiled
from tweenlet.interpolation.timeline import Reel
from tweenlet.interpolation.timing import check_factor
from tweenlet.network.blocks import Enlargement, Gate

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
            bound; "auto" = where they would take much memory; None = never. See
            :mod:`tweenlet.interpolation.tiling`.

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
            lambda four: clamped(self.middle(four), four[1:3]),
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


def clamped(made: Tensor, frames: Sequence[Tensor]) -> Tensor:
    """A picture within [0, 1], or within what the frames around it reach beyond that; in place."""
    low, high = zip(*(frame.aminmax() for frame in frames), strict=True)
    return made.clamp_(torch.stack(low).amin().clamp_max(0), torch.stack(high).amax().clamp_min(1))


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
