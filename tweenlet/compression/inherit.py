"""Inherit: a narrower network from the most important channels of a wider one.

    source, config  ->  which channels enter and leave each layer  ->  score, choose, cut  ->  network

The blocks of ``network`` state which channels enter and leave their layers; once all have done so,
:mod:`tweenlet.compression.channels` scores and cuts, so that every layer has a vote. Layers that the new
network lacks or never uses have none.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.compression.channels import Inheritance, Saliency
from tweenlet.network.config import IntermediateFlowConfig, ModelConfig
from tweenlet.network.stmfnet import STMFNet


def inherit(source: STMFNet, config: ModelConfig, saliency: Saliency | None = None) -> STMFNet:
    """A network of ``config`` from the most important channels of ``source``; float32, CPU, eval mode.

    Importance is magnitude, or ``saliency`` if given, which also chooses residual blocks. Dropping channels
    that are zero in the source leaves the output unchanged. ValueError if ``config`` does not fit into the
    source's (a wider width, an additional branch or scale, other levels or kernels), or if its widths turn a
    convolutional shortcut into an identity.
    """
    _check(source.config, config)
    network = STMFNet(config)
    graph = Inheritance(source, network, saliency)
    network.declare_channels(graph)
    network.load_state_dict(graph.cut())  # strict: no tensor keeps its random initialisation
    return network.eval()


def four_frames(source: STMFNet, head: int = 0) -> STMFNet:
    """Convert a network of two frames (RIFE) to one of four: float32, CPU, eval mode.

    The levels are the source's down to scale 2; a residual ``head`` of that width is zero-initialised. The
    encoder's transposed convolution to full size and the 2x2 mean after it become one convolution at half
    size. The acceleration is applied in full, but the finest level's weights for it start at zero. ValueError
    for a source without an intermediate-flow branch of two frames.
    """
    branch = source.config.intermediate
    if branch is None or branch.four_frames:
        raise ValueError("expected a network with an intermediate-flow branch of two frames")
    weights = source.state_dict()
    levels = [level for level in branch.levels if level.scale > 1]
    prefixes = ("intermediate.encode.", *(f"intermediate.levels.{number}." for number in range(len(levels))))
    state = {name: tensor for name, tensor in weights.items() if name.startswith(prefixes)}
    state["intermediate.encode.out.weight"] = _halved(weights["intermediate.encode.out.weight"])
    entry = f"intermediate.levels.{len(levels) - 1}.down.0.weight"
    state[entry] = F.pad(weights[entry], (0, 0, 0, 0, 0, 2))
    state["intermediate.acceleration_weight"] = torch.tensor(1.0)
    config = replace(
        source.config, intermediate=replace(branch, levels=tuple(levels), four_frames=True, head=head)
    )
    network = STMFNet(config)
    network.load_state_dict({**network.state_dict(), **state})
    return network.eval()


def _halved(transposed: Tensor) -> Tensor:
    """The 3x3 kernel equivalent to a transposed 4x4 one of stride 2 (in, out, 4, 4) and a 2x2 mean."""
    for dim in (2, 3):
        first, second, third, fourth = transposed.unbind(dim)
        transposed = torch.stack((fourth, second + third, first), dim) / 2
    return transposed.transpose(0, 1).contiguous()


def _check(old: ModelConfig, new: ModelConfig) -> None:
    """ValueError unless ``new`` has no more branches, scales and width than ``old``, and the same kernels."""
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
    """ValueError unless a branch has no more levels, blocks and width than another."""
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
    """Whether widths are at most others, level by level; other values must be equal."""
    if isinstance(got, tuple) and isinstance(bound, tuple):
        return len(got) == len(bound) and all(map(_within, got, bound))
    return got <= bound if isinstance(got, int) and isinstance(bound, int) else got == bound
