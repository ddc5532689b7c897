"""Channels: which of them enter and leave each layer, how much they weigh, and the tensors of those kept.

Channels that several layers share (what is added or concatenated, the two sides of an identity) are one
:class:`Channels`, chosen once; what lies between two layers of one chain is theirs alone.

Weight of a channel: wherever it enters or leaves a layer, the mean absolute weight there, divided by the
layer's own mean absolute weight; summed over these places. So every layer speaks equally loud. Biases and
norms have no say.

Every tensor is a slice of the source's, with two exceptions that keep the function the same. A correlation is
a mean over channels, so what reads it is scaled by the share of channels kept. Where the source has an
identity and the new widths need a convolution, it is the convolution that picks the kept channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from tweenlet.network.intermediate_flow import Level, ResidualBlock
from tweenlet.network.stmfnet import STMFNet
from tweenlet.ops.correlation import MATCHES

Connected = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d | nn.Linear
"""The layers that have a weight for each pair of channels."""
TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Saliency:
    """How much the loss is expected to rise without something of a network; what is not listed is unknown."""

    weights: Mapping[str, Tensor] = field(default_factory=dict)
    """Of every number of a layer's weight, by the layer's name; it stands in for the weight's magnitude."""
    streams: Mapping[str, Tensor] = field(default_factory=dict)
    """Of every channel (width,) of a level's residual stream, by the name of the width."""
    marginals: Mapping[str, Tensor] = field(default_factory=dict)
    """Of each further channel (width,) taken from a width, the least salient first, by the width's name."""
    blocks: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Of every residual block of a level, in the order of the blocks, by the name of the level's width."""
    pieces: Mapping[str, float] = field(default_factory=dict)
    """Of a whole branch, scale or level, by its name."""


class Channels:
    """Channels of the source, ``width`` of them, of which the ``keep`` that weigh most go on.

    ``scores`` (width,) decide in place of the layers' votes.
    """

    def __init__(self, width: int, keep: int, scores: Tensor | None = None):
        self.width, self.keep = width, keep
        self.groups = 1  # each keeps as many
        self.weight = torch.zeros(width, dtype=torch.float64) if scores is None else scores.double()
        self.voted = scores is None

    def kept(self) -> Tensor:
        """Their indices (keep,), rising; as many from each group, and of equally heavy ones the first."""
        weight = self.weight.view(self.groups, -1)
        heaviest = torch.sort(weight, dim=1, descending=True, stable=True).indices
        rising = heaviest[:, : self.keep // self.groups].sort(1).values
        return (rising + weight.shape[1] * torch.arange(self.groups)[:, None]).flatten()


class Piece(NamedTuple):
    """Channels at a place where they enter or leave a layer."""

    channels: Channels
    span: int = 1
    """Neighbouring rows or columns of the layer's weight for each channel."""
    gain: float = 1.0
    """What a layer that they enter has to multiply them with, to see what the source sees."""


Layout = tuple[Piece, ...]
"""All that enters or leaves a layer, piece beside piece."""


def channels(width: int, keep: int | None = None) -> Layout:
    """Channels that nothing shares yet; without ``keep`` all of them are kept."""
    return (Piece(Channels(width, width if keep is None else keep)),)


def correlated(compared: Layout) -> Layout:
    """What correlating channels makes, of which some are dropped: a mean over fewer."""
    share = sum(piece.channels.keep for piece in compared) / sum(piece.channels.width for piece in compared)
    return (Piece(Channels(MATCHES, MATCHES), gain=share),)


def _indices(layout: Layout) -> Tensor:
    """The source's rows or columns that are kept, (kept,), rising within a piece."""
    start, found = 0, [torch.empty(0, dtype=torch.long)]
    for own, span, _ in layout:
        found.append((start + span * own.kept()[:, None] + torch.arange(span)).flatten())
        start += span * own.width
    return torch.cat(found)


def _gains(layout: Layout) -> Tensor:
    """What the kept columns are multiplied with, (kept,)."""
    return torch.cat([torch.full((span * own.keep,), gain) for own, span, gain in layout])


def _vote(layout: Layout, weights: Tensor) -> None:
    """Add the weights of all rows or columns, of the dropped ones too, to their channels'."""
    shares = torch.split(weights, [span * own.width for own, span, _ in layout])
    for (own, span, _), share in zip(layout, shares, strict=True):
        if own.voted:
            own.weight += share.view(-1, span).mean(1)


class Layer(NamedTuple):
    """A layer of the new network, its twin in the source, and the channels that enter and leave it."""

    new: nn.Module
    old: nn.Module
    ins: Layout | None
    """None for a layer without columns: it goes by its outs, or is copied whole if they are None too."""
    outs: Layout | None

    def weigh(self, importance: Tensor | None = None) -> None:
        """Tell the channels on both sides how much they weigh here: by magnitude, or by an importance of
        every number of the source's weight, in its shape.
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
        """The new layer's tensors, by their names in it."""
        if isinstance(self.old, nn.Identity):
            return self._pass_on()
        old = dict(_tensors(self.old))
        tensors = {name: old[name].detach().cpu() for name, _ in _tensors(self.new)}
        if self.outs is not None:
            rows = _indices(self.outs)
            tensors = {name: _cut_vector(tensor, rows) for name, tensor in tensors.items()}
            if self.ins is not None:
                tensors["weight"] = _cut_matrix(cast(Connected, self.old), rows, self.ins)
        return tensors

    def _pass_on(self) -> dict[str, Tensor]:
        """What passes on the kept channels as they are, for an identity in the source: a fresh norm does."""
        tensors = dict(_tensors(self.new))
        if self.ins is not None and self.outs is not None:
            tensors = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
            taps = tensors["weight"].flatten(2)
            taps[:, :, taps.shape[2] // 2] = (_indices(self.outs)[:, None] == _indices(self.ins)).float()
        return tensors


def _cut_vector(tensor: Tensor, rows: Tensor) -> Tensor:
    """The kept entries of a tensor (C,) or (1, C, 1, 1); any other is returned as it is."""
    if tensor.dim() == 1:
        return tensor[rows]
    per_channel = tensor.dim() == 4 and tensor.numel() == tensor.shape[1]
    return tensor[:, rows] if per_channel else tensor


def _cut_matrix(layer: Connected, rows: Tensor, ins: Layout) -> Tensor:
    """The kept rows and columns of a layer's weight, in its own order of dimensions."""
    weight = matrix(layer)
    groups, height, width, _ = weight.shape
    rows = rows.view(groups, -1, 1) % height
    columns = _indices(ins).view(groups, 1, -1) % width
    weight = weight[torch.arange(groups).view(-1, 1, 1), rows, columns] * _gains(ins).view(groups, 1, -1, 1)
    if isinstance(layer, TRANSPOSED):
        weight = weight.transpose(1, 2)
    return weight.reshape(-1, *weight.shape[2:3], *layer.weight.shape[2:])


def matrix(layer: Connected, values: Tensor | None = None) -> Tensor:
    """A layer's weight as (groups, rows, columns, taps): rows make what leaves, columns take what enters.

    Or other ``values`` in the shape of the weight.
    """
    weight = (layer.weight if values is None else values).detach().cpu()
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    weight = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return weight.transpose(1, 2) if isinstance(layer, TRANSPOSED) else weight


def _tensors(layer: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """A layer's own parameters and buffers by name."""
    return (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))


class Walk:
    """Which channels enter and leave the layers of ``network``, which is to be cut from ``source``."""

    def __init__(self, source: STMFNet, network: STMFNet, saliency: Saliency | None = None):
        self.source, self.network = source, network
        self.saliency = saliency or Saliency()
        self.names = {module: name for name, module in network.named_modules()}
        self.levels, self.blocks = _kept_levels(source, network, self.saliency)
        self.rows_gone = source.config.scales.index(network.config.scales[0])
        self.layers: list[Layer] = []

    def widths(self, part: str) -> list[tuple[int, int]]:
        """For each level of a part, or row of the grid: channels in the source, and how many are kept."""
        wide, narrow = getattr(self.source.config, part), getattr(self.network.config, part)
        return list(zip(wide[self.rows_gone :] if part == "grid" else wide, narrow, strict=False))

    def twin(self, module: nn.Module) -> nn.Module:
        """The source's module in the same place: of its name, but that a dropped scale moves the grid's rows.

        Where the source has an identity for a convolution and a norm, it is the twin of both.
        """
        path = self.names[module].split(".")
        if path[0] == "fusion" and path[1] in ("lateral", "down", "up"):
            row, number = path[2].split("_")
            path[2] = f"{int(row) + self.rows_gone}_{number}"
        if path[:2] == ["intermediate", "levels"] and len(path) > 2:
            level = int(path[2])
            path[2] = str(self.levels[level])
            if len(path) > 4 and path[3] == "blocks":
                path[4] = str(self.blocks[level][int(path[4])])
        found: nn.Module = self.source
        for name in path:
            found = found if isinstance(found, nn.Identity) else found.get_submodule(name)
        return found

    def carry(self, ins: Layout, outs: Layout, *parts: nn.Module) -> None:
        """Layers one after the other, the first with ``ins`` and the last with ``outs``.

        What lies between them is chosen for itself, and from each group of a grouped convolution alike.
        """
        layers = [layer for part in parts for layer in part.modules() if any(True for _ in _tensors(layer))]
        last = [layer for layer in layers if isinstance(layer, Connected)][-1]
        at = ins
        for new in layers:
            old = self.twin(new)
            if isinstance(new, Connected):
                before, at = at, outs if new is last else channels(_rows(old), _rows(new))
                self.layers.append(Layer(new, old, before, at))
                if not isinstance(new, nn.Linear) and new.groups > 1:
                    for piece in before + at:
                        piece.channels.groups = new.groups
            elif isinstance(new, nn.PReLU) and new.num_parameters == 1:
                self.copy(new)
            else:
                self.layers.append(Layer(new, old, None, at))

    def shortcut(self, ins: Layout, outs: Layout, layer: nn.Module) -> None:
        """As :meth:`carry`, for what is an identity where the widths on both sides are the same.

        ValueError where it is one in the new network only.
        """
        if not isinstance(layer, nn.Identity):
            self.carry(ins, outs, layer)
        elif not isinstance(self.twin(layer), nn.Identity):
            width = sum(piece.channels.keep for piece in outs)
            raise ValueError(
                f"{self.names[layer]} is a convolution in the source, and {width} channels on both sides "
                "make it an identity here: expected widths that differ"
            )

    def behind(self, shortcut: nn.Module, ins: Layout, outs: Layout) -> Layout:
        """What a shortcut adds to: ``outs``, but ``ins`` where it is an identity in both networks."""
        identity = isinstance(shortcut, nn.Identity) and isinstance(self.twin(shortcut), nn.Identity)
        return ins if identity else outs

    def copy(self, module: nn.Module) -> None:
        """A module's own constants as they are."""
        self.layers.append(Layer(module, self.twin(module), None, None))

    def cut(self) -> dict[str, Tensor]:
        """Weigh all channels, then make the new network's ``state_dict``."""
        names = {module: name for name, module in self.source.named_modules()}
        for layer in self.layers:
            layer.weigh(self.saliency.weights.get(names.get(layer.old, "")))
        state: dict[str, Tensor] = {}
        for layer in self.layers:
            for name, tensor in layer.cut().items():
                key = f"{self.names[layer.new]}.{name}"
                assert key not in state, f"{key} is carried twice"
                state[key] = tensor
        return state


def _kept_levels(source: STMFNet, network: STMFNet, saliency: Saliency) -> tuple[list[int], list[list[int]]]:
    """Of each level of an intermediate-flow branch its number in the source, and those of its blocks."""
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
    """How much each residual block of a level adds: the mean magnitude of its scaled weights."""
    blocks = cast(Iterable[ResidualBlock], cast(Level, level).blocks)
    scaled = (block.conv.weight.detach() * block.scale.detach().view(-1, 1, 1, 1) for block in blocks)
    return [float(weight.abs().mean()) for weight in scaled]


def _rows(layer: nn.Module) -> int:
    """How many channels leave a layer."""
    groups, rows, _, _ = matrix(cast(Connected, layer)).shape
    return groups * rows
