"""VapourSynth: interpolation as a function of clips; frames are computed on demand.

clip ── shifted by -1, 0, 1, 2 ── each repeated `factor` times ── ModifyFrame ──> clip of a higher rate
"""

from __future__ import annotations

from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.network import checkpoint as weights
from tweenlet.runtime.devices import resolve_device


def interpolate(
    clip: Any,
    factor: int = 2,
    *,
    model: str | Path | nn.Module = "default",
    device: str | None = None,
    tile: int | str | None = "auto",
    cuts: bool = True,
) -> Any:
    """Interpolate a clip to ``factor`` times its frame rate.

    Args:
        clip: a clip of constant format and rate. Formats other than RGBS are converted by VapourSynth's
            resize and back, with their own matrix.
        factor: output frames per input frame, 2 or more; only 2 for networks that only predict the midpoint.
        model: name of bundled weights, path to a checkpoint, or a network.
        device: where the network runs.
        tile: longest side of a tile, "auto" or None.
        cuts: do not interpolate after frames with the property ``_SceneChangeNext`` (set by misc.SCDetect and
            wwxd); repeat the frame before the cut.

    Raises:
        ValueError: a clip without a constant format or rate, or a factor that the network cannot make.
        OSError: VapourSynth is not installed.

    """
    try:
        vs = import_module("vapoursynth")
    except ModuleNotFoundError:
        raise OSError("VapourSynth is not installed: pip install vapoursynth") from None
    if clip.format is None or not clip.width or not clip.height:
        raise ValueError("expected a clip of one format and size")
    if not clip.fps:
        raise ValueError("expected a clip of a constant rate: give it one by std.AssumeFPS")
    place = resolve_device(device)
    network = model if isinstance(model, nn.Module) else weights.load(model, device=str(place))
    maker = Interpolator(network, device=place, tile=tile)
    if factor < 2 or (factor != 2 and not maker.takes_time):
        raise ValueError(f"expected a factor of 2 or more, 2 for a network of the middle, got {factor}")
    rgb = clip if clip.format.id == vs.RGBS else clip.resize.Bicubic(format=vs.RGBS)
    last = len(rgb) - 1
    shifted = [
        rgb[:1] + rgb[:last] if last else rgb,
        rgb,
        *(rgb[min(k, last) :] + rgb[last:] * min(k, last) if last else rgb for k in (1, 2)),
    ]
    repeated = [vs.core.std.Interleave([each] * factor) for each in shifted]

    def make(n: int, f: list[Any]) -> Any:
        before, after, time = f[1], f[2], Fraction(n % factor, factor)
        if not time or n // factor == last or (cuts and before.props.get("_SceneChangeNext", 0)):
            return before
        picture = maker.between([_tensor(frame) for frame in (f[0], before, after, f[3])], time)
        out = before.copy()
        for plane, values in enumerate(picture.cpu().numpy()):
            np.asarray(out[plane])[:] = values
        return out

    output = vs.core.std.ModifyFrame(repeated[1], repeated, make)
    output = vs.core.std.AssumeFPS(output, fpsnum=clip.fps.numerator * factor, fpsden=clip.fps.denominator)
    if clip.format.id == vs.RGBS:
        return output
    matrix = {} if clip.format.color_family == vs.RGB else {"matrix": _matrix(clip)}
    return output.resize.Bicubic(format=clip.format.id, **matrix)


def _tensor(frame: Any) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(frame[plane]) for plane in range(3)]))


def _matrix(clip: Any) -> int:
    """The colour matrix of the first frame; if untagged, BT.709 for large pictures, else BT.601."""
    matrix = int(clip.get_frame(0).props.get("_Matrix", 2))
    return matrix if matrix not in (0, 2) else 1 if clip.height >= 720 else 6
