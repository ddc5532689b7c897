"""Inheritance: the importance of channels, and the tensors of those that survive.

    network.declare_channels(graph) --> graph.statements --weigh, choose, cut--> state_dict

The importance of a channel is its mean absolute weight in each layer that it enters or leaves, divided by
that layer's mean absolute weight, and summed over these layers, so that every layer has the same influence.
Biases and norms are ignored.

Every tensor is a slice of the source's, with two exceptions that keep the function the same. A correlation is
a mean over channels, so the layer that reads it is scaled by the fraction of channels kept. Where the source
has an identity and the new widths need a convolution, the convolution picks the kept channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from tweenlet.network.channels import (
    ChannelGraph,
    ChannelGroup,
    Channels,
    Connected,
    Layout,
    layers_of,
    rows_of,
    tensors_of,
)
from tweenlet.network.intermediate_flow import Level, ResidualBlock
from tweenlet.network.stmfnet import STMFNet

TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Saliency:
    """Expected rise of the loss without an element of a network; elements not listed are unknown."""

    weights: Mapping[str, Tensor] = field(default_factory=dict)
    """Layer -> saliency of every entry of its weight, used in place of the magnitude."""
    streams: Mapping[str, Tensor] = field(default_factory=dict)
    """Width -> saliency (width,) of every channel of a level's residual stream."""
    marginals: Mapping[str, Tensor] = field(default_factory=dict)
    """Width -> marginal saliency (width,) of removing one more channel, least salient first."""
    blocks: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Width -> saliency of every residual block of its level, in order."""
    pieces: Mapping[str, float] = field(default_factory=dict)
    """Name of a branch, scale or level -> its saliency."""


def _indices(layout: Layout) -> Tensor:
    """Indices (kept,) of the source's rows or columns to keep, ascending within a group."""
    start, parts = 0, [torch.empty(0, dtype=torch.long)]
    for own, span, _ in layout:
        parts.append((start + span * own.choose()[:, None] + torch.arange(span)).flatten())
        start += span * own.width
    return torch.cat(parts)


def _gains(layout: Layout) -> Tensor:
    """Factors (kept,) of the kept columns."""
    return torch.cat([torch.full((span * own.keep,), gain) for own, span, gain in layout])


def _vote(layout: Layout, weights: Tensor) -> None:
    """Add the importance of all rows or columns, dropped ones included, to their channels' scores."""
    shares = torch.split(weights, [span * own.width for own, span, _ in layout])
    for (own, span, _), share in zip(layout, shares, strict=True):
        if own.voted:
            own.weight += share.view(-1, span).mean(1)


class Layer(NamedTuple):
    """A layer of the new network, its counterpart in the source, and the channels that enter and leave it."""

    new: nn.Module
    old: nn.Module
    ins: Layout | None
    """None for a layer without columns, which follows its outs, or is copied whole if they are None too."""
    outs: Layout | None

    def weigh(self, importance: Tensor | None = None) -> None:
        """Add this layer's votes to the channels on both sides, by magnitude or by an ``importance`` in the
        shape of the source's weight.
        """
        if self.outs is None:
            return
        if isinstance(self.new, Connected) and isinstance(self.old, Connected):
            weight = matrix(self.old, importance).abs().double()
            if self.new.weight.requires_grad and weight.any():
                weight /= weight.mean()
                _vote(self.ins or (), weight.mean((1, 3)).flatten())
                _vote(self.outs or (), weight.mean((2, 3)).flatten())

    def cut(self) -> dict[str, Tensor]:
        """The new layer's tensors, by name."""
        if isinstance(self.old, nn.Identity):
            return self._pass_on()
        old = dict(tensors_of(self.old))
        tensors = {name: old[name].detach().cpu() for name, _ in tensors_of(self.new)}
        if self.outs is not None:
            rows = _indices(self.outs)
            tensors = {name: _cut_vector(tensor, rows) for name, tensor in tensors.items()}
            if self.ins is not None:
                tensors["weight"] = _cut_matrix(cast(Connected, self.old), rows, self.ins)
        return tensors

    def _pass_on(self) -> dict[str, Tensor]:
        """Tensors that pass on the kept channels unchanged, for an identity in the source."""
        tensors = dict(tensors_of(self.new))
        if self.ins is not None and self.outs is not None:
            tensors = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
            taps = tensors["weight"].flatten(2)
            taps[:, :, taps.shape[2] // 2] = (_indices(self.outs)[:, None] == _indices(self.ins)).float()
        return tensors


def _cut_vector(tensor: Tensor, rows: Tensor) -> Tensor:
    """The kept entries of a tensor (C,) or (1, C, 1, 1); any other is returned unchanged."""
    if tensor.dim() == 1:
        return tensor[rows]
    per_channel = tensor.dim() == 4 and tensor.numel() == tensor.shape[1]
    return tensor[:, rows] if per_channel else tensor


def _cut_matrix(layer: Connected, rows: Tensor, ins: Layout) -> Tensor:
    """The kept rows and columns of a layer's weight, in its own dimension order."""
    weight = matrix(layer)
    groups, height, width, _ = weight.shape
    rows = rows.view(groups, -1, 1) % height
    columns = _indices(ins).view(groups, 1, -1) % width
    weight = weight[torch.arange(groups).view(-1, 1, 1), rows, columns] * _gains(ins).view(groups, 1, -1, 1)
    if isinstance(layer, TRANSPOSED):
        weight = weight.transpose(1, 2)
    return weight.reshape(-1, *weight.shape[2:3], *layer.weight.shape[2:])


def matrix(layer: Connected, values: Tensor | None = None) -> Tensor:
    """A layer's weight as (groups, rows, columns, taps), rows for outputs and columns for inputs.

    ``values`` in the shape of the weight replace it.
    """
    weight = (layer.weight if values is None else values).detach().cpu()
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    weight = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return weight.transpose(1, 2) if isinstance(layer, TRANSPOSED) else weight


class Inheritance(ChannelGraph):
    """Fills ``network`` with the most important channels of ``source``, by the statements of its blocks."""

    def __init__(self, source: STMFNet, network: STMFNet, saliency: Saliency | None = None):
        super().__init__(network, network.config, source.config)
        self.source, self.saliency = source, saliency or Saliency()
        self.levels, self.blocks = _chosen_levels(source, network, self.saliency)
        self.statements: list[Layer] = []

    def counterpart(self, module: nn.Module) -> nn.Module:
        """The source's module in the same place: of the same name, unless a dropped scale moves grid rows.

        An identity in the source is the counterpart of both a convolution and its norm.
        """
        path = self.names[module].split(".")
        if path[0] == "fusion" and len(path) > 2 and path[1] != "final":
            row, number = path[2].split("_")
            path[2] = f"{int(row) + self.rows_gone}_{number}"
        if path[:2] == ["intermediate", "levels"] and len(path) > 2:
            level = int(path[2])
            path[2] = str(self.levels[level])
            if len(path) > 4 and path[3] == "blocks":
                path[4] = str(self.blocks[level][int(path[4])])
        module = self.source
        for name in path:
            module = module if isinstance(module, nn.Identity) else module.get_submodule(name)
        return module

    def fresh(self, layer: nn.Module, width: str | None = None) -> Layout:
        """As in the base class; a ``width`` with its own scores is chosen by them."""
        scores = self.saliency.streams.get(width or "")
        return (ChannelGroup(Channels(rows_of(self.counterpart(layer)), rows_of(layer), scores)),)

    def connect(self, inputs: Layout, outputs: Layout, *parts: nn.Module, width: str | None = None) -> None:
        """As in the base class; each group of a grouped convolution keeps the same number of channels."""
        super().connect(inputs, outputs, *parts, width=width)
        layers = layers_of(parts)
        last = [layer for layer in layers if isinstance(layer, Connected)][-1]
        at = inputs
        for new in layers:
            old = self.counterpart(new)
            if isinstance(new, Connected):
                before, at = at, outputs if new is last else self.fresh(new)
                self.statements.append(Layer(new, old, before, at))
                if not isinstance(new, nn.Linear) and new.groups > 1:
                    for part in before + at:
                        part.channels.groups = new.groups
            elif isinstance(new, nn.PReLU) and new.num_parameters == 1:
                self.constants(new)
            else:
                self.per_channel(new, at)

    def shortcut(self, inputs: Layout, outputs: Layout, layer: nn.Module, width: str | None = None) -> None:
        """As in the base class; ValueError if it is an identity in the new network only."""
        super().shortcut(inputs, outputs, layer, width)
        if isinstance(layer, nn.Identity) and not isinstance(self.counterpart(layer), nn.Identity):
            count = sum(part.channels.keep for part in outputs)
            raise ValueError(
                f"{self.names[layer]} is a convolution in the source, and {count} channels on both sides "
                "make it an identity here: expected widths that differ"
            )

    def behind(self, shortcut: nn.Module, inputs: Layout, outputs: Layout) -> Layout:
        """As in the base class, if it is an identity in both networks."""
        identity = isinstance(shortcut, nn.Identity) and isinstance(self.counterpart(shortcut), nn.Identity)
        return inputs if identity else outputs

    def per_channel(self, module: nn.Module, outputs: Layout) -> None:
        """As in the base class."""
        self.statements.append(Layer(module, self.counterpart(module), None, outputs))

    def constants(self, module: nn.Module) -> None:
        """As in the base class; the parameters are copied."""
        self.statements.append(Layer(module, self.counterpart(module), None, None))

    def cut(self) -> dict[str, Tensor]:
        """Score all channels, then build the new network's ``state_dict``."""
        names = {module: name for name, module in self.source.named_modules()}
        for layer in self.statements:
            layer.weigh(self.saliency.weights.get(names.get(layer.old, "")))
        state: dict[str, Tensor] = {}
        for layer in self.statements:
            for name, tensor in layer.cut().items():
                key = f"{self.names[layer.new]}.{name}"
                assert key not in state, f"{key} is stated twice"
                state[key] = tensor
        return state


def _chosen_levels(
    source: STMFNet, network: STMFNet, saliency: Saliency
) -> tuple[list[int], list[list[int]]]:
    """For each level of an intermediate-flow branch, its number in the source and those of its blocks."""
    old, new = source.config.intermediate, network.config.intermediate
    if old is None or new is None or source.intermediate is None:
        return [], []
    numbers = [[level.scale for level in old.levels].index(level.scale) for level in new.levels]
    blocks = []
    for level, number in zip(new.levels, numbers, strict=True):
        scores = saliency.blocks.get(f"level.{level.scale}") or _block_strengths(
            source.intermediate.levels[number]
        )
        heaviest = sorted(range(len(scores)), key=lambda block: -scores[block])
        blocks.append(sorted(heaviest[: level.blocks]))
    return numbers, blocks


def _block_strengths(level: nn.Module) -> list[float]:
    """Strength of each residual block of a level: the mean magnitude of its scaled weights."""
    blocks = cast(Iterable[ResidualBlock], cast(Level, level).blocks)
    scaled = (block.conv.weight.detach() * block.scale.detach().view(-1, 1, 1, 1) for block in blocks)
    return [float(weight.abs().mean()) for weight in scaled]
