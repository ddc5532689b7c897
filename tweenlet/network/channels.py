"""Channel groups: which channels enter and leave each layer, stated by each block beside its layers.

    STMFNet.declare_channels(graph) --> each block: graph.connect(inputs, outputs, layers, width)

Channels that several layers share (terms of a sum, parts of a concatenation, both sides of an identity) are
one :class:`Channels`; those between two layers of a chain belong to these alone. The graph records which
layers make up each width of the config; :mod:`tweenlet.compression.inherit` cuts a narrower network by the
same statements.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tweenlet.network.config import ModelConfig

Connected = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d | nn.Linear
"""Layers with a weight per pair of channels."""


class Channels:
    """``width`` channels of the original, of which the ``keep`` most important survive.

    ``scores`` (width,) replace the layers' votes on importance.
    """

    def __init__(self, width: int, keep: int, scores: Tensor | None = None):
        self.width, self.keep = width, keep
        self.groups = 1  # each keeps the same number
        self.weight = torch.zeros(width, dtype=torch.float64) if scores is None else scores.double()
        self.voted = scores is None

    def choose(self) -> Tensor:
        """Indices (keep,) of the survivors, ascending; as many from each group, the first among equals."""
        weight = self.weight.view(self.groups, -1)
        heaviest = torch.sort(weight, dim=1, descending=True, stable=True).indices
        rising = heaviest[:, : self.keep // self.groups].sort(1).values
        return (rising + weight.shape[1] * torch.arange(self.groups)[:, None]).flatten()


class ChannelGroup(NamedTuple):
    """Channels where they enter or leave a layer."""

    channels: Channels
    span: int = 1
    """Adjacent rows or columns of the layer's weight per channel."""
    gain: float = 1.0
    """Factor that a layer must apply to its inputs to match the original."""


Layout = tuple[ChannelGroup, ...]
"""All channels that enter or leave a layer, group after group."""


def group(width: int, keep: int | None = None) -> Layout:
    """Channels not shared so far; None = keep all of them."""
    return (ChannelGroup(Channels(width, width if keep is None else keep)),)


class ChannelGraph:
    """Collects the statements of a network's blocks.

    Attributes:
        origin: config of the network that channels come from; it may have more branches.
        layers: names of the layers that make up each width.

    """

    def __init__(self, network: nn.Module, config: ModelConfig, origin: ModelConfig | None = None):
        self.config, self.origin = config, origin or config
        self.names = {module: name for name, module in network.named_modules()}
        self.rows_gone = self.origin.scales.index(config.scales[0])
        self.layers: dict[str, list[str]] = {}

    def widths(self, part: str) -> list[tuple[int, int]]:
        """For each level of a part, or row of the grid: channels of the original, and how many survive."""
        wide, narrow = getattr(self.origin, part), getattr(self.config, part)
        return list(zip(wide[self.rows_gone :] if part == "grid" else wide, narrow, strict=False))

    def fresh(self, layer: nn.Module, width: str | None = None) -> Layout:  # noqa: ARG002
        """Channels that leave a layer, not shared so far; ``width`` is their name in the config, if any."""
        return group(rows_of(layer))

    def connect(self, inputs: Layout, outputs: Layout, *parts: nn.Module, width: str | None = None) -> None:
        """State that layers form a chain from ``inputs`` to ``outputs``.

        Args:
            inputs: channels that enter the first layer.
            outputs: channels that leave the last layer; those in between are chosen independently.
            parts: layers, or modules of layers, in order.
            width: name of the width of the config that these layers make up, as in
                :func:`tweenlet.compression.densities.widths_of`; None = of none.

        """
        del inputs, outputs
        if width is not None:
            layers = [self.names[layer] for layer in layers_of(parts) if isinstance(layer, Connected)]
            self.layers.setdefault(width, []).extend(layers)

    def shortcut(self, inputs: Layout, outputs: Layout, layer: nn.Module, width: str | None = None) -> None:
        """As :meth:`connect`, for a layer that is an identity if the widths on both sides agree."""
        if not isinstance(layer, nn.Identity):
            self.connect(inputs, outputs, layer, width=width)

    def behind(self, shortcut: nn.Module, inputs: Layout, outputs: Layout) -> Layout:
        """Channels that a shortcut adds to: ``outputs``, or ``inputs`` if it is an identity."""
        return inputs if isinstance(shortcut, nn.Identity) else outputs

    def per_channel(self, module: nn.Module, outputs: Layout) -> None:
        """State that a module's own parameters have one entry per channel."""

    def constants(self, module: nn.Module) -> None:
        """State that a module's own parameters do not depend on channels."""


def rows_of(layer: nn.Module) -> int:
    """Number of channels that leave a layer."""
    assert isinstance(layer, Connected)
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def layers_of(parts: Iterable[nn.Module]) -> list[nn.Module]:
    """The modules with parameters or buffers of their own, in order."""
    return [layer for part in parts for layer in part.modules() if any(True for _ in tensors_of(layer))]


def tensors_of(layer: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """A layer's own parameters and buffers by name."""
    return (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))
