"""Saliency: the rise of a trained network's loss without a channel, block, level or branch.

    network, batches, objective --one backward pass each---> channels   first-order Taylor: which of a width
                                --one pass without some----> widths     measured: how much they cost together
                                --one pass without each----> blocks, levels, branches   measured

To first order, removing a channel changes the loss by the sum of weight times gradient over its parameters
(Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, eq. 8); its square is
averaged over batches. For a channel of a level's residual stream, these are the parameters of everything that
reads or writes it. This ranks the channels of a width well, but does not predict the cost of removing
several, which is measured once per width. Larger elements are removed one by one, and measured.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from tweenlet.compression.channels import Saliency, matrix
from tweenlet.compression.densities import STEPS, counted_layers, layers_of, widths_of, with_widths
from tweenlet.compression.inherit import inherit
from tweenlet.compression.pieces import pieces
from tweenlet.network.channels import Connected
from tweenlet.network.intermediate_flow import Level, ResidualBlock
from tweenlet.network.stmfnet import STMFNet
from tweenlet.training.data.batches import Batch, predict
from tweenlet.training.losses import Objective

TRIALS = 8
"""Most batches on which to measure a width, block, level or branch."""
TRIED = 1 / 8
"""Fraction of a width's channels to remove when measuring their cost."""
FLOOR = 0.01
"""Smallest ratio of a width's measured cost to its first-order estimate; lower ones are raised to it."""


def saliency(
    network: STMFNet,
    batches: Sequence[Batch],
    objective: Objective,
    trials: Sequence[Batch] | None = None,
) -> Saliency:
    """Measure the saliency of each element of a network on batches; the network does not change.

    Removals are measured by the mean squared change of the frames, relative to those in ``trials`` (frames of
    the dense network, from :func:`own_pictures`), or to the network's own. Squares of independent changes add
    up, so that no change is hidden by chance. ValueError without batches.
    """
    if not batches:
        raise ValueError("expected at least one batch to measure saliency on, got none")
    network = copy.deepcopy(network).eval().requires_grad_(True)
    blocks, removable = _blocks(network), pieces(network.config)
    squares = _Squares(network)
    for batch in batches:
        network.zero_grad()
        objective(predict(network, batch).float(), batch)[0].backward()  # type: ignore[no-untyped-call]
        squares.add()
    network.zero_grad()
    trials = trials or own_pictures(network, batches[:TRIALS])
    baseline = distance(network, trials)

    def rise(other: STMFNet) -> float:
        return distance(other, trials) - baseline

    estimate = squares.saliency(len(batches))
    marginals = {
        name: _calibrated(network, name, estimate, rise) if len(values) else values
        for name, values in estimate.marginals.items()
    }
    measured_blocks = {}
    for name, level in blocks.items():
        measured_blocks[name] = tuple(_without(level, number, network, rise) for number in range(len(level)))
    measured = {name: rise(inherit(network, config)) for name, config in removable.items()}
    return replace(estimate, marginals=marginals, blocks=measured_blocks, pieces=measured)


def _calibrated(network: STMFNet, name: str, estimate: Saliency, rise: Callable[[STMFNet], float]) -> Tensor:
    """The marginals of a width, scaled to agree with the measured cost of removing some of it."""
    marginals, widths = estimate.marginals[name], widths_of(network.config)
    step = STEPS.get(name.partition(".")[0], 1)
    narrower = step * math.floor(widths[name] * (1 - TRIED) / step)
    expected = float(marginals[: widths[name] - narrower].sum())
    if narrower < max(step, 1) or expected <= 0:
        return marginals
    try:
        network = inherit(network, with_widths(network.config, {**widths, name: narrower}), estimate)
    except ValueError:  # a convolution would become an identity
        return marginals
    return marginals * max(FLOOR, rise(network) / expected)


@torch.no_grad()
def own_pictures(network: STMFNet, batches: Sequence[Batch]) -> list[Batch]:
    """The batches with the network's own frames in place of the truth."""
    network.eval()
    return [replace(batch, truth=predict(network, batch).float().clamp(0, 1)) for batch in batches]


@torch.no_grad()
def distance(network: STMFNet, batches: Sequence[Batch]) -> float:
    """Mean squared error of a network over batches."""
    errors = [predict(network, batch).float().clamp(0, 1) - batch.truth for batch in batches]
    return float(torch.stack([error.square().mean() for error in errors]).mean())


class _Squares:
    """Sums over batches of squared weight times gradient, per entry and per channel."""

    def __init__(self, network: STMFNet) -> None:
        self._network = network
        self._layers, self._layers_of = dict(counted_layers(network)), layers_of(network.config)
        self._numbers = {name: torch.zeros_like(layer.weight) for name, layer in self._layers.items()}
        self._channels: dict[str, list[Tensor]] = {}

    @torch.no_grad()
    def add(self) -> None:
        """Add the gradients of one batch."""
        for name, layer in self._layers.items():
            self._numbers[name] += _product(layer.weight).square()
        for width in widths_of(self._network.config):
            squares = [channel.square() for channel in self._first_order(width)]
            sums = self._channels.setdefault(width, [torch.zeros_like(square) for square in squares])
            for total, square in zip(sums, squares, strict=True):
                total += square

    def saliency(self, batches: int) -> Saliency:
        """The means over ``batches`` batches."""
        channels = {
            name: [(total / batches).cpu() for total in sums] for name, sums in self._channels.items()
        }
        widths = widths_of(self._network.config)
        tied = self._network.intermediate is not None
        return Saliency(
            weights={name: (total / batches).sqrt().cpu() for name, total in self._numbers.items()},
            streams={name: scores[0] for name, scores in channels.items()} if tied else {},
            marginals={name: _marginals(scores, widths[name]) for name, scores in channels.items()},
        )

    def _first_order(self, width: str) -> list[Tensor]:
        """First-order change of the loss without each channel, for each group of channels of a width."""
        if self._network.intermediate is not None:
            return [_of_stream(_level(self._network, width))]
        names = self._layers_of[width]
        layers = [cast(Connected, layer) for name, layer in self._layers.items() if name in names]
        return [matrix(layer, _product(layer.weight)).sum((2, 3)).flatten() for layer in layers]


def _marginals(scores: Sequence[Tensor], width: int) -> Tensor:
    """Cost (width,) of removing one more channel of a width, the least salient of every group first."""
    shares = np.linspace(0, 1, width + 1)
    lost = np.zeros(width + 1)
    for group in scores:
        rising = np.concatenate(([0.0], np.cumsum(np.sort(group.double().numpy()))))
        lost += np.interp(shares, np.linspace(0, 1, len(rising)), rising)
    return torch.from_numpy(np.diff(lost))


def _of_stream(level: Level) -> Tensor:
    """Sum of weight times gradient over all layers that read or write each channel of a level's stream."""
    total = _rows(level.down[2]) + _columns(level.up[0])
    for module in level.blocks:
        block = cast(ResidualBlock, module)
        total = total + _rows(block.conv) + _columns(block.conv) + _product(block.scale).flatten()
    return total


def _rows(layer: nn.Module) -> Tensor:
    return _product(cast(nn.Conv2d, layer).weight).flatten(1).sum(1)


def _columns(layer: nn.Module) -> Tensor:
    product = _product(cast(nn.Conv2d, layer).weight)
    rows_last = product if isinstance(layer, nn.ConvTranspose2d) else product.transpose(0, 1)
    return rows_last.flatten(1).sum(1)


def _product(parameter: Tensor) -> Tensor:
    gradient = parameter.grad
    return torch.zeros_like(parameter) if gradient is None else (parameter * gradient).detach()


def _level(network: STMFNet, width: str) -> Level:
    branch, config = network.intermediate, network.config.intermediate
    assert branch is not None
    assert config is not None
    scales = [f"level.{level.scale}" for level in config.levels]
    return cast(Level, branch.levels[scales.index(width)])


def _blocks(network: STMFNet) -> dict[str, nn.Sequential]:
    """Residual blocks of each level, by the name of its width; empty without such a branch."""
    if network.intermediate is None:
        return {}
    return {width: _level(network, width).blocks for width in widths_of(network.config)}


def _without(blocks: nn.Sequential, number: int, network: STMFNet, rise: Callable[[STMFNet], float]) -> float:
    with _skipped(blocks, number):
        return rise(network)


@contextmanager
def _skipped(blocks: nn.Sequential, number: int) -> Iterator[None]:
    """Context in which one of the blocks is an identity."""
    block = blocks[number]
    blocks[number] = nn.Identity()
    try:
        yield
    finally:
        blocks[number] = block
