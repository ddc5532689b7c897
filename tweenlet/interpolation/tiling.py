"""Tiling: a frame of any size through a network in overlapping tiles, which bounds memory.

    frames ── cut ──> tiles ──> network ──> x weights ── add ──> frame
       │                           │
       │                           └── channel means of gates, in a first pass, if the network has gates
       └── motion of the whole frame ── cropped, if the network takes motion

:mod:`.spans` places tiles at multiples of the network's stride. Coarse levels, whose receptive field is
large, estimate motion on the whole frame. A network of convolutions then gives the same result as without
tiles, as long as the margins cover its receptive field: CONTEXT pixels plus the largest flow of these frames.
Gates scale by channel means of the whole picture: a first pass gathers them over all tiles, so that tiles
agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tweenlet.interpolation.spans import LIMIT, Span, Tiling, cut_motion, margins, parse_tile, spans
from tweenlet.network.blocks import ChannelGate, Tile, WholeFrameLayer
from tweenlet.network.config import ModelConfig
from tweenlet.network.motion import Estimate
from tweenlet.ops.dispatch import has_native
from tweenlet.ops.reduce import channel_mean

INTERMEDIATE = {True: 270, False: 400}
"""Peak bytes per pixel of an intermediate-flow network, by whether it takes four frames (264 measured at
3840x2160; 107 of them are the stream's cached motion, which is of whole frames even with tiles) or two."""


def padded(
    frames: Tensor | Sequence[Tensor],
    multiple: int = 1,
    padding: str = "mirrored",
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Stack frames (..., H, W), padded right and below to a multiple or a size, with "zeros" or "mirrored".

    Frames too small to mirror are repeated.
    """
    height, width = frames[0].shape[-2:]
    down, right = (
        (-height % multiple, -width % multiple) if size is None else (size[0] - height, size[1] - width)
    )
    if not right and not down:
        return frames if isinstance(frames, Tensor) else torch.stack(list(frames))
    larger = frames[0].new_empty(len(frames), *frames[0].shape[:-2], height + down, width + right)
    for room, frame in zip(larger, frames, strict=True):
        room[..., :height, :width] = frame
    if padding == "zeros":
        larger[..., :height, width:] = 0
        larger[..., height:, :] = 0
    else:
        _mirror(larger[..., :height, :], -1, width)
        _mirror(larger, -2, height)
    return larger


def _mirror(frames: Tensor, dim: int, size: int) -> None:
    """Fill everything beyond the first ``size`` pixels along ``dim`` with their mirror image, in place."""
    count = frames.shape[dim] - size
    beyond = frames.narrow(dim, size, count)
    if count < size:
        beyond.copy_(frames.narrow(dim, size - 1 - count, count).flip(dim))
    else:
        beyond.copy_(frames.narrow(dim, size - 1, 1).expand_as(beyond))


def choose_tiling(tile: int | str | None, model: nn.Module, device: torch.device) -> Tiling:
    """Parse ``tile``: a side in pixels, None or "none", or "auto", as large as fits into LIMIT.

    With gates, whose tiles take a second pass, "auto" may use half of the free memory if that is more. The
    receptive field of networks without a ModelConfig is unknown, so that "auto" never tiles them. ValueError
    for any other value.
    """
    config = getattr(model, "config", None)
    if tile != "auto" or not isinstance(config, ModelConfig):
        return parse_tile(tile, None)
    gated = any(isinstance(part, ChannelGate) for part in model.modules())
    limit = max(LIMIT, free_bytes(device) // 2) if gated else LIMIT
    return parse_tile(tile, limit // bytes_per_pixel(config, device))


def needs_tile(model: nn.Module) -> bool:
    """Whether layers of a network depend on the whole frame, so that it takes the ``tile`` it runs on."""
    return any(isinstance(part, WholeFrameLayer) for part in model.modules())


def bytes_per_pixel(config: ModelConfig, device: torch.device) -> int:
    """Peak memory of a network per pixel of a frame, in bytes; float32, measured on a CPU.

    Estimated from the first widths: with native code 960 for MINI (550 measured) and 1,920 for ST-MFNet
    (1,000 measured), without it 1,300 (1,100) and 2,600 (2,500). In tiles MINI takes up to 320 more and
    ST-MFNet 640, because the texture's last block is computed whole. On other devices, without bands, MINI
    and ST-MFNet are assumed to take twice as much as without native code; that, and networks with other
    branches alone, are guesses.
    """
    if config.intermediate is not None:
        return INTERMEDIATE[config.intermediate.four_frames]
    in_native_code = device.type == "cpu" and has_native()
    if config.features is not None:
        finest = 80 if device.type != "cpu" else 30 if in_native_code else 40
        return (finest if 2.0 in config.scales else 15) * config.features[0]
    others = 60 * sum(widths[0] for widths in (config.grid, config.texture) if widths is not None)
    return others + (600 if config.flow is not None else 0)


def free_bytes(device: torch.device) -> int:
    """Free memory of a device, in bytes; 4 GiB if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return 2**32


ChannelMeans = Callable[[ChannelGate, Tensor], Tensor]
"""From a gate and its input to the channel means (B, C, 1, ...) that it uses."""
RunTile = Callable[[Span, Span, ChannelMeans], Tensor]
"""Runs the network on one tile, given its rows, its columns and the means for its gates."""


def run_tiled(
    model: nn.Module,
    frames: Sequence[Tensor],
    motion: Estimate | None,
    side: int,
    multiple: int,
    device: torch.device,
    **options: Any,
) -> Tensor:
    """Run a network on four frames (3, H, W) tile by tile, and blend the tiles: (3, H, W).

    Args:
        model: network as for :class:`~tweenlet.interpolation.interpolator.Interpolator`.
        frames: four tensors (3, H, W).
        motion: motion in the padded frames, if the network takes any.
        side: longest side of a tile in pixels.
        multiple: number that the sides of the network's input must be multiples of.
        device: device that the network runs on.
        options: further arguments for each call of the network.

    """
    height, width = frames[0].shape[-2:]
    side = max(side // multiple, 4) * multiple
    whole = [-(-length // multiple) * multiple for length in (height, width)]
    if motion is not None:  # of smaller frames, of which the sides are multiples
        whole = [2 * length for length in motion.finest.shape[-2:]]
    rows, columns = (
        spans(length, side, margin, multiple)
        for length, margin in zip(whole, margins(motion, side), strict=True)
    )
    tiles = list(product(rows, columns))
    aware = len(tiles) > 1 and needs_tile(model)

    def run(down: Span, across: Span, mean: ChannelMeans) -> Tensor:
        part = [frame[:, down.start : down.stop, across.start : across.stop] for frame in frames]
        pieces = [piece.to(device, torch.float32) for piece in part]
        size = len(down.weight), len(across.weight)
        window = padded(pieces, padding=getattr(model, "padding", "mirrored"), size=size)
        given = () if motion is None else (cut_motion(motion, down, across),)
        tile = {"tile": Tile(down.extent(rows), across.extent(columns), mean)} if aware else {}
        out: Tensor = model(window.unsqueeze(0), *given, **tile, **options)[0]
        return out

    gated = aware and any(isinstance(part, ChannelGate) for part in model.modules())
    mean = whole_frame_means(run, tiles) if gated else _own_means
    blended = torch.zeros(3, height, width, device=device)
    for down, across in tiles:
        weight = torch.from_numpy(down.weight[:, None] * across.weight).to(device)
        part = blended[:, down.start : down.stop, across.start : across.stop]
        part += (run(down, across, mean) * weight)[:, : part.shape[1], : part.shape[2]]
    return blended


def whole_frame_means(run: RunTile, tiles: Sequence[tuple[Span, Span]]) -> ChannelMeans:
    """Channel means of the gates over all tiles, each pixel counted once, gathered by a first pass.

    In that pass, earlier gates still use the means of their tile, so that later means are close, not exact.
    """
    totals: dict[ChannelGate, Tensor] = {}
    height, width = (span.stop for span in tiles[-1])

    def gather(tile: tuple[Span, Span], gate: ChannelGate, x: Tensor) -> Tensor:
        slices = x.float().reshape(*x.shape[:2], -1, *x.shape[-2:])
        rows, columns = (
            F.adaptive_avg_pool1d(torch.from_numpy(span.weight)[None], size)[0].to(x.device)
            * (len(span.weight) / size)
            for span, size in zip(tile, x.shape[-2:], strict=True)
        )
        own = channel_mean(x)
        share = torch.einsum("bcthw,h,w->bct", slices, rows, columns).mean(2) / (height * width)
        totals[gate] = totals.get(gate, 0) + share.view(own.shape)
        return own

    for tile in tiles:
        run(*tile, partial(gather, tile))
    return lambda gate, x: totals[gate].to(x.dtype)


def _own_means(_: ChannelGate, x: Tensor) -> Tensor:
    return channel_mean(x)
