"""Channel groups: which channels enter and leave each layer, stated by each block beside its layers.

    STMFNet.declare_channels(graph) --> each block: graph.connect(inputs, outputs, layers, width)

Channels that several layers share (what is added or concatenated, the two sides of an identity) are one
:class:`Channels`; what lies between two layers of one chain is theirs alone. A graph alone knows which layers
make up a width of the config; :mod:`tweenlet.compression.inherit` cuts a narrower network by the same
statements.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tweenlet.network.config import ModelConfig

Connected = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d | nn.Linear
"""The layers that have a weight for each pair of channels."""


class Channels:
    """Channels of the original, ``width`` of them, of which the ``keep`` that weigh most go on.

    ``scores`` (width,) decide in place of the layers' votes.
    """

    def __init__(self, width: int, keep: int, scores: Tensor | None = None):
        self.width, self.keep = width, keep
        self.groups = 1  # each keeps as many
        self.weight = torch.zeros(width, dtype=torch.float64) if scores is None else scores.double()
        self.voted = scores is None

    def choose(self) -> Tensor:
        """Indices (keep,) of those that go on, rising; as many from each group, of equals the first."""
        weight = self.weight.view(self.groups, -1)
        heaviest = torch.sort(weight, dim=1, descending=True, stable=True).indices
        rising = heaviest[:, : self.keep // self.groups].sort(1).values
        return (rising + weight.shape[1] * torch.arange(self.groups)[:, None]).flatten()


class ChannelGroup(NamedTuple):
    """Channels at a place where they enter or leave a layer."""

    channels: Channels
    span: int = 1
    """Neighbouring rows or columns of the layer's weight for each channel."""
    gain: float = 1.0
    """What a layer that they enter has to multiply them with, to see what the original sees."""


Layout = tuple[ChannelGroup, ...]
"""All channels that enter or leave a layer, group after group."""


def group(width: int, keep: int | None = None) -> Layout:
    """Channels that nothing shares yet; without ``keep`` all of them are kept."""
    return (ChannelGroup(Channels(width, width if keep is None else keep)),)


class ChannelGraph:
    """Hears the statements of a network's blocks.

    Attributes:
        origin: config of the network that channels come from; its branches may be more.
        layers: the layers that make up each width, by their names in the network.

    """

    def __init__(self, network: nn.Module, config: ModelConfig, origin: ModelConfig | None = None):
        self.config, self.origin = config, origin or config
        self.names = {module: name for name, module in network.named_modules()}
        self.rows_gone = self.origin.scales.index(config.scales[0])
        self.layers: dict[str, list[str]] = {}

    def widths(self, part: str) -> list[tuple[int, int]]:
        """For each level of a part, or row of the grid: channels of the original, and how many go on."""
        wide, narrow = getattr(self.origin, part), getattr(self.config, part)
        return list(zip(wide[self.rows_gone :] if part == "grid" else wide, narrow, strict=False))

    def fresh(self, layer: nn.Module, width: str | None = None) -> Layout:  # noqa: ARG002
        """Channels that leave a layer and that nothing shares yet; they may be those of a ``width``."""
        return group(rows_of(layer))

    def connect(self, inputs: Layout, outputs: Layout, *parts: nn.Module, width: str | None = None) -> None:
        """State that layers follow on each other, the first with ``inputs`` and the last with ``outputs``.

        Args:
            inputs: what enters the first.
            outputs: what leaves the last; what lies between them is chosen for itself.
            parts: layers, or modules of layers in order.
            width: name of the width of the config that these layers make up, as in
                :func:`tweenlet.compression.densities.widths_of`; None = of none.

        """
        del inputs, outputs
        if width is not None:
            layers = [self.names[layer] for layer in layers_of(parts) if isinstance(layer, Connected)]
            self.layers.setdefault(width, []).extend(layers)

    def shortcut(self, inputs: Layout, outputs: Layout, layer: nn.Module, width: str | None = None) -> None:
        """As :meth:`connect`, for a layer that is an identity where the widths on both sides are the same."""
        if not isinstance(layer, nn.Identity):
            self.connect(inputs, outputs, layer, width=width)

    def behind(self, shortcut: nn.Module, inputs: Layout, outputs: Layout) -> Layout:
        """What a shortcut adds to: ``outputs``, but ``inputs`` where it is an identity."""
        return inputs if isinstance(shortcut, nn.Identity) else outputs

    def per_channel(self, module: nn.Module, outputs: Layout) -> None:
        """State that a module has one of its own parameters for each of some channels."""

    def constants(self, module: nn.Module) -> None:
        """State that a module's own parameters belong to no channels."""


def rows_of(layer: nn.Module) -> int:
    """How many channels leave a layer."""
    assert isinstance(layer, Connected)
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def layers_of(parts: Iterable[nn.Module]) -> list[nn.Module]:
    """The modules with parameters or buffers of their own, in order."""
    return [layer for part in parts for layer in part.modules() if any(True for _ in tensors_of(layer))]


def tensors_of(layer: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """A layer's own parameters and buffers by name."""
    return (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))
