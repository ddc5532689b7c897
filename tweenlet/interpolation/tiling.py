"""Tiles: a frame of any size through a network in pieces that overlap, so that memory has a bound.

    frames ── cut ──> tiles ──> network ──> x weights ── add ──> frame
       │                           │
       │                           └── means of the gates: in a pass before, where the network has gates
       └── motion, of the whole frame ── cut, where the network is given any

Tiles lie as :mod:`.spans` says, at multiples of the network's stride, and what coarse levels find of motion,
far and wide, is found on the whole frame. So a network of convolutions gives what it gives without tiles, as
long as the margins hold what its pixels depend on: SIGHT pixels, and as far as the flow of these very frames
goes. A gate scales by the mean of a whole picture: its mean over all tiles is gathered first and given to
each, so that they agree.
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
from tweenlet.network.motion import Motion
from tweenlet.ops.dispatch import has_native
from tweenlet.ops.reduce import channel_mean

INTERMEDIATE = {True: 270, False: 400}
"""Bytes that a network of intermediate flow holds for each pixel of a frame: of four frames (264 measured at
3840x2160; 107 of them are the motion a stream remembers, of whole frames in tiles too), of two."""


def padded(frames: Tensor, multiple: int, padding: str = "mirrored") -> Tensor:
    """Frames (B, C, H, W) grown right and down to the least multiple: by "zeros" or "mirrored".

    What is too small to be mirrored is repeated.
    """
    height, width = frames.shape[-2:]
    right, down = -width % multiple, -height % multiple
    if not right and not down:
        return frames
    if padding == "zeros":
        return F.pad(frames, (0, right, 0, down))
    larger = frames.new_empty(*frames.shape[:-2], height + down, width + right)
    larger[..., :height, :width] = frames
    _mirror(larger[..., :height, :], -1, width)
    _mirror(larger, -2, height)
    return larger


def _mirror(frames: Tensor, dim: int, size: int) -> None:
    """Fill, in place, what lies beyond the first ``size`` pixels along ``dim``: what is before, mirrored."""
    count = frames.shape[dim] - size
    beyond = frames.narrow(dim, size, count)
    if count < size:
        beyond.copy_(frames.narrow(dim, size - 1 - count, count).flip(dim))
    else:
        beyond.copy_(frames.narrow(dim, size - 1, 1).expand_as(beyond))


def choose_tiling(tile: int | str | None, model: nn.Module, device: torch.device) -> Tiling:
    """What ``tile`` asks for: the side in pixels, or None ("none"), or "auto": as large as fits into LIMIT.

    With gates, where tiles take a second pass, "auto" may take half of the memory that is free now if that is
    more. Of a network without a ModelConfig nobody knows how far it looks, so that "auto" cuts nothing.
    ValueError for anything else.
    """
    config = getattr(model, "config", None)
    if tile != "auto" or not isinstance(config, ModelConfig):
        return parse_tile(tile, None)
    gated = any(isinstance(part, ChannelGate) for part in model.modules())
    limit = max(LIMIT, free_bytes(device) // 2) if gated else LIMIT
    return parse_tile(tile, limit // bytes_per_pixel(config, device))


def needs_tile(model: nn.Module) -> bool:
    """Whether parts of a network depend on the whole frame, so that it must be told the tile it is given."""
    return any(isinstance(part, WholeFrameLayer) for part in model.modules())


def bytes_per_pixel(config: ModelConfig, device: torch.device) -> int:
    """What a network holds at its peak for each pixel of a frame in float32, measured on a CPU.

    It goes by the first widths: with native code 960 for MINI (550 measured) and 1,920 for ST-MFNet (1,000),
    without it 1,300 (1,100) and 2,600 (2,500). In tiles MINI holds up to 320 bytes more and ST-MFNet 640: the
    texture's last block is then made whole. On other devices, where nothing is made in bands, MINI and
    ST-MFNet are taken to hold twice as much as without native code; that and networks with other branches
    alone are guesses.
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
    """Memory that is free for use on a device; 4 GiB where that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return 2**32


ChannelMeans = Callable[[ChannelGate, Tensor], Tensor]
"""The channel means (B, C, 1, ...) that a gate goes by, from the gate and its input."""
RunTile = Callable[[Span, Span, ChannelMeans], Tensor]
"""Runs the network on one tile, given its rows and columns and what its gates go by."""


def run_tiled(
    model: nn.Module,
    frames: Sequence[Tensor],
    motion: Motion | None,
    side: int,
    multiple: int,
    device: torch.device,
    **options: Any,
) -> Tensor:
    """Run a network on four frames (3, H, W) tile by tile, and blend the tiles: (3, H, W).

    Args:
        model: as the :class:`~tweenlet.interpolation.interpolator.Interpolator` takes it.
        frames: four tensors (3, H, W).
        motion: theirs, padded to ``multiple``, where the network takes any.
        side: longest side of a tile in pixels.
        multiple: what the sides of the network's input must be multiples of.
        device: where the network runs.
        options: further arguments of each of the network's calls.

    """
    height, width = frames[0].shape[-2:]
    side = max(side // multiple, 4) * multiple
    rows, columns = (
        spans(-(-length // multiple) * multiple, side, margin, multiple)
        for length, margin in zip((height, width), margins(motion, side), strict=True)
    )
    tiles = list(product(rows, columns))
    aware = len(tiles) > 1 and needs_tile(model)

    def run(down: Span, across: Span, mean: ChannelMeans) -> Tensor:
        part = [frame[:, down.start : down.stop, across.start : across.stop] for frame in frames]
        pieces = torch.stack(part).to(device, torch.float32)
        window = padded(pieces, multiple, getattr(model, "padding", "mirrored"))
        size = rows[-1].stop, columns[-1].stop
        given = () if motion is None else (cut_motion(motion, down, across, size),)
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
    """The gates' means over all tiles, each pixel counted once, which a pass over them gathers.

    In that pass a gate comes after gates that still go by their tile: what it gathers is near, not exact.
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
