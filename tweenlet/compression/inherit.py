"""Inherit: a narrower network that starts from the channels of a wider one which weigh most.

    source, config  ->  walk: which channels enter and leave each layer  ->  weigh, choose, cut  ->  network

The walk mirrors ``network``, a function for each box, and says of every layer which channels enter and leave
it; :mod:`tweenlet.compression.channels` weighs and cuts when it is over, so that every layer has had its say.
What the new network does not have or never uses has no say.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.compression.channels import (
    Channels,
    Layer,
    Layout,
    Piece,
    Saliency,
    Walk,
    channels,
    correlated,
)
from tweenlet.network import adacof_heads as kernels
from tweenlet.network import features, flow, fusion, texture
from tweenlet.network.config import IntermediateFlowConfig, ModelConfig
from tweenlet.network.four_frames import FourFrameFlow
from tweenlet.network.intermediate_flow import IntermediateFlow, Level, ResidualBlock
from tweenlet.network.stmfnet import STMFNet

CANDIDATES = 6
"""Channels of what kernels or flow make at one scale: a frame from before and one from after."""


def inherit(source: STMFNet, config: ModelConfig, saliency: Saliency | None = None) -> STMFNet:
    """A network of ``config`` made of the channels that weigh most in ``source``; float32, CPU, eval mode.

    Magnitudes weigh, or the ``saliency`` in their place; residual blocks are chosen by it likewise.
    What contributed nothing in the source, zeros after sparsifying, is not missed: the output is the same.
    ValueError when ``config`` is no narrowing of the source's (a wider width, a branch or scale more, other
    levels, other kernels), and when its widths make an identity of a shortcut that is a convolution there.
    """
    _check(source.config, config)
    network = STMFNet(config)
    walk = Walk(source, network, saliency)
    candidates: dict[float, Layout] = dict.fromkeys(config.scales, ())
    if source.kernels is not None:
        for scale in config.scales:
            candidates[scale] += channels(CANDIDATES, CANDIDATES if network.kernels else 0)
    if network.features is not None and network.kernels is not None:
        _kernels(walk, network.kernels, _features(walk, network.features))
    if source.flow is not None:
        candidates[1.0] += channels(CANDIDATES, CANDIDATES if network.flow else 0)
    if network.flow is not None:
        _flow(walk, network.flow)
    if network.fusion is not None:
        _fusion(walk, network.fusion, candidates)
    if network.texture is not None:
        _texture(walk, network.texture)
    if network.intermediate is not None:
        _intermediate(walk, network.intermediate)
    network.load_state_dict(walk.cut())  # strict: nothing keeps its random initialisation
    return network.eval()


def four_frames(source: STMFNet, left_out: Sequence[Collection[int]] = (), head: int = 0) -> STMFNet:
    """The network over four frames that starts from a two-frame one (RIFE): float32, CPU, eval mode.

    Its levels are the source's down to scale 2, in each of them without the residual blocks ``left_out`` (by
    number, level by level), and it has a residual ``head`` of that width, which adds nothing yet. What the
    encoder makes at the frame's own size and a mean of 2x2 becomes one convolution at half of it; to the
    finest level the acceleration, which is believed, says nothing at first. ValueError for a source without
    an intermediate-flow branch of two frames.
    """
    branch = source.config.intermediate
    if branch is None or branch.four_frames:
        raise ValueError("expected a network with an intermediate-flow branch of two frames")
    levels, state = [], dict[str, Tensor]()
    weights = source.state_dict()
    for number, level in enumerate(level for level in branch.levels if level.scale > 1):
        gone = left_out[number] if number < len(left_out) else ()
        stay = [block for block in range(level.blocks) if block not in gone]
        levels.append(replace(level, blocks=len(stay)))
        prefix = f"intermediate.levels.{number}."
        for name in (name for name in weights if name.startswith(prefix)):
            kind, _, rest = name.removeprefix(prefix).partition(".")
            block, _, leaf = rest.partition(".")
            if kind != "blocks":
                state[name] = weights[name]
            elif int(block) in stay:
                state[f"{prefix}blocks.{stay.index(int(block))}.{leaf}"] = weights[name]
    state |= {name: tensor for name, tensor in weights.items() if ".encode." in name}
    state["intermediate.encode.out.weight"] = _halved(weights["intermediate.encode.out.weight"])
    entry = f"intermediate.levels.{len(levels) - 1}.down.0.weight"
    state[entry] = F.pad(weights[entry], (0, 0, 0, 0, 0, 2))
    state["intermediate.trust"] = torch.tensor(1.0)
    config = replace(
        source.config, intermediate=replace(branch, levels=tuple(levels), four_frames=True, head=head)
    )
    network = STMFNet(config)
    network.load_state_dict({**network.state_dict(), **state})
    return network.eval()


def _halved(transposed: Tensor) -> Tensor:
    """The 3x3 kernel that does what a transposed 4x4 one of stride 2 (in, out, 4, 4) and a mean of 2x2 do."""
    for dim in (2, 3):
        first, second, third, fourth = transposed.unbind(dim)
        transposed = torch.stack((fourth, second + third, first), dim) / 2
    return transposed.transpose(0, 1).contiguous()


def _features(walk: Walk, net: features.Features) -> Layout:
    """Returns what goes to the kernels. The two halves of a level are chosen each for itself."""

    def level(width: int, keep: int) -> Layout:
        return channels(width // 2, keep // 2) + channels(width // 2, keep // 2)

    widths = walk.widths("features")
    down = [level(*each) for each in widths]
    up = [level(*widths[0]), *down[1:]]  # added to what came down, but for the finest
    for block, ins, outs in zip(net.down, (channels(6), *down[:-1]), down, strict=True):
        _block(walk, block, ins, outs)
    _block(walk, net.bottom, down[-1], up[-1])
    for block, (outs, ins) in zip(net.up, pairwise(up), strict=True):
        _block(walk, block, ins, outs)
    return up[0]


def _block(walk: Walk, block: nn.Module, ins: Layout, outs: Layout) -> None:
    block = cast(features.Block, block)
    for branch, half in ((block.small, outs[:1]), (block.large, outs[1:])):
        walk.carry(ins, half, branch.reduce, branch.grouped, branch.expand)
        walk.carry(ins, half, branch.shortcut)
    walk.carry(outs, outs, block.gate)


def _kernels(walk: Walk, net: kernels.Kernels, seen: Layout) -> None:
    for head in net.heads.values():
        for stack in head.children():
            walk.carry(seen, channels(walk.network.config.kernel_size**2), stack)
    walk.copy(net)


def _flow(walk: Walk, net: flow.Flow) -> None:
    levels = [channels(*each) for each in walk.widths("flow")]
    for level, ins, outs in zip(net.pyramid, (channels(3), *levels[:-1]), levels, strict=True):
        walk.carry(ins, outs, level)
    x: Layout = ()
    for module, first in zip(reversed(net.decoders), reversed(levels[1:]), strict=True):
        decoder, coarser = cast(flow.Decoder, module), x
        x = correlated(first)
        if coarser:
            walk.carry(channels(2), channels(2), decoder.enlarge_flow)
            walk.carry(coarser, channels(2), decoder.enlarge_features)
            x = x + first + channels(2 + 2)
        for layer, width in zip(decoder.dense, flow.DENSE, strict=True):
            made = channels(width)
            walk.carry(x, made, layer)
            x = made + x
        walk.carry(x, channels(2), decoder.predict)
    walk.carry(x, channels(2), net.refine)
    walk.copy(net)


def _fusion(walk: Walk, net: fusion.Fusion, candidates: dict[float, Layout]) -> None:
    rows = [channels(*each) for each in walk.widths("grid")]
    for row, scale in enumerate(net.scales):
        if f"{row}_0" in net.lateral:
            first = cast(fusion.Lateral, net.lateral[f"{row}_0"])
            rows[row] = walk.behind(first.shortcut, candidates[scale], rows[row])
            _lateral(walk, first, candidates[scale], rows[row])
        for column in (1, 2, 3):
            _lateral(walk, net.lateral[f"{row}_{column}"], rows[row], rows[row])
    for row, (finer, coarser) in enumerate(pairwise(rows)):
        for number in (0, 1):
            walk.carry(finer, coarser, net.down[f"{row}_{number}"])
            walk.carry(coarser, finer, net.up[f"{row}_{number}"])
    _lateral(walk, net.final, rows[net.out_row], channels(3))


def _lateral(walk: Walk, block: nn.Module, ins: Layout, outs: Layout) -> None:
    block = cast(fusion.Lateral, block)
    walk.carry(ins, outs, block.path)
    walk.shortcut(ins, outs, block.shortcut)


def _texture(walk: Walk, net: texture.Texture) -> None:
    widths = walk.widths("texture")
    x = channels(*widths[0])
    walk.carry(channels(3), x, net.stem)
    levels = [x]
    for stage, each in zip(net.stages, widths, strict=True):
        for module in cast(nn.Sequential, stage):
            block = cast(texture.Residual, module)
            outs = walk.behind(block.shortcut, x, channels(*each))
            walk.carry(x, outs, block.first, block.second)
            walk.carry(outs, outs, block.gate)
            walk.shortcut(x, outs, block.shortcut)
            x = outs
        levels.append(x)
    levels.pop()
    skip: Layout = ()
    for up, level in zip(net.decoder, (2, 1, 0, 0, 0), strict=True):
        layer, gate, norm = cast(nn.Sequential, up)
        outs = channels(*widths[level])
        walk.carry(x + skip, outs, layer, norm)
        walk.carry(outs, outs, gate)
        x, skip = outs, levels.pop() if levels else ()
    walk.carry(texture.SLICES * x, channels(3), net.fuse, net.out)


def _intermediate(walk: Walk, net: IntermediateFlow | FourFrameFlow) -> None:
    for level in cast(Sequence[Level], net.levels):
        enter, leave = _outer_layers(level)
        scores = walk.saliency.streams.get(f"level.{level.scale}")
        width = _outer_layers(cast(Level, walk.twin(level)))[1].in_channels
        stream: Layout = (Piece(Channels(width, leave.in_channels, scores)),)
        walk.carry(channels(enter.in_channels), stream, level.down)
        for module in level.blocks:
            block = cast(ResidualBlock, module)
            walk.carry(stream, stream, block.conv)
            walk.layers.append(Layer(block, walk.twin(block), None, stream))  # its scale
        walk.carry(stream, channels(leave.out_channels), level.up)
    head = net.head if isinstance(net, FourFrameFlow) else None
    for module in (*net.encode.modules(), *(head.modules() if head else ())):
        walk.copy(module)
    walk.copy(net)


def _outer_layers(level: Level) -> tuple[nn.Conv2d, nn.ConvTranspose2d]:
    """The first convolution of a level, and its last."""
    return cast(nn.Conv2d, level.down[0]), cast(nn.ConvTranspose2d, level.up[0])


def _check(old: ModelConfig, new: ModelConfig) -> None:
    """ValueError unless ``new`` has the branches, scales and widths of ``old`` or less, and its kernels."""
    if old.intermediate is not None or new.intermediate is not None:
        _check_levels(old.intermediate, new.intermediate)
        return
    if not set(new.scales) <= set(old.scales):
        raise ValueError(f"expected scales of the source, some of {old.scales}, got {new.scales}")
    grid = old.grid and tuple(
        width for width, scale in zip(old.grid, old.scales, strict=True) if scale in new.scales
    )
    for name, bound, got in (
        ("features", old.features, new.features),
        ("kernel_hidden", old.kernel_hidden, new.features and new.kernel_hidden),
        ("flow", old.flow, new.flow),
        ("grid", grid, new.grid),
        ("texture", old.texture, new.texture),
        ("texture_out", old.texture_out, new.texture and new.texture_out),
    ):
        if got is not None and not _within(got, bound):
            raise ValueError(
                f"expected {name} no wider than the source's, {bound}, level by level, got {got}"
            )
    if new.features is not None and (new.kernel_size, new.dilation) != (old.kernel_size, old.dilation):
        raise ValueError(
            f"expected the source's kernel_size {old.kernel_size} and dilation {old.dilation}, "
            f"got {new.kernel_size} and {new.dilation}"
        )


def _check_levels(old: IntermediateFlowConfig | None, new: IntermediateFlowConfig | None) -> None:
    """ValueError unless a branch has the levels, blocks and widths of another or less."""
    if old is None or new is None:
        raise ValueError("expected an intermediate-flow branch in both networks, or in neither")
    if replace(new, levels=old.levels) != old:
        raise ValueError("expected the source's encoder, context, head and number of frames")
    bounds = {level.scale: level for level in old.levels}
    for level in new.levels:
        bound = bounds.get(level.scale)
        if bound is None or level.width > bound.width or level.blocks > bound.blocks:
            raise ValueError(f"expected levels of the source, no wider or deeper: {bound}, got {level}")
    if new.levels[0].scale != old.levels[0].scale:
        raise ValueError(f"the coarsest level stays: expected scale {old.levels[0].scale} first")


def _within(got: object, bound: object) -> bool:
    """Whether widths are at most others, level by level; anything else only if it is the same."""
    if isinstance(got, tuple) and isinstance(bound, tuple):
        return len(got) == len(bound) and all(map(_within, got, bound))
    return got <= bound if isinstance(got, int) and isinstance(bound, int) else got == bound
