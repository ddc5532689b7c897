"""Inherit: a narrower network that starts from the channels of a wider one which weigh most.

    source, config  ->  walk: which channels enter and leave each layer  ->  weigh, choose, cut  ->  network

The walk mirrors ``network``, a function for each box, and says of every layer which channels enter and leave
it. Channels that several layers share (what is added or concatenated, the two sides of an identity) are one
:class:`Channels`, chosen once; what lies between two layers of one chain is theirs alone. Only when the walk
is over are the channels weighed and the tensors cut, so that every layer has had its say.

Weight of a channel: wherever it enters or leaves a layer, the mean absolute weight there, divided by the
layer's own mean absolute weight; summed over these places. So every layer speaks equally loud. Biases and
norms have no say, nor have layers that the new network does not have or never uses.

Every tensor is a slice of the source's, with two exceptions that keep the function the same. A correlation is
a mean over channels, so what reads it is scaled by the share of channels kept. Where the source has an
identity and the new widths need a convolution, it is the convolution that picks the kept channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from tweenlet.config import ModelConfig
from tweenlet.network import features, flow, fusion, kernels, motion, texture
from tweenlet.network.stmfnet import STMFNet
from tweenlet.ops.correlation import MATCHES

Connected = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d | nn.Linear
"""The layers that have a weight for each pair of channels."""
TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
CANDIDATES = 6
"""Channels of what kernels or flow make at one scale: a frame from before and one from after."""


def inherit(source: STMFNet, config: ModelConfig) -> STMFNet:
    """A network of ``config`` made of the channels that weigh most in ``source``; float32, CPU, eval mode.

    What contributed nothing in the source, zeros after sparsifying, is not missed: the output is the same.
    ValueError when ``config`` is no narrowing of the source's (a wider width, a branch or scale more, other
    levels, other kernels), and when its widths make an identity of a shortcut that is a convolution there.
    """
    _check(source.config, config)
    network = STMFNet(config)
    walk = Walk(source, network)
    candidates: dict[float, Layout] = dict.fromkeys(config.scales, ())
    if source.kernels is not None:
        for scale in config.scales:
            candidates[scale] += _channels(CANDIDATES, CANDIDATES if network.kernels else 0)
    if network.features is not None and network.kernels is not None:
        _kernels(walk, network.kernels, _features(walk, network.features))
    if source.flow is not None:
        candidates[1.0] += _channels(CANDIDATES, CANDIDATES if network.flow else 0)
    if network.flow is not None:
        _flow(walk, network.flow)
    if source.config.refine is not None:
        hints = _motion(walk, network.motion) if network.motion else _channels(source.config.refine[0], 0)
        candidates[1.0] += _channels(motion.MERGED, motion.MERGED if network.motion else 0)
        if 0.5 in candidates:
            candidates[0.5] += hints
    if network.fusion is not None:
        _fusion(walk, network.fusion, candidates)
    if network.texture is not None:
        _texture(walk, network.texture)
    network.load_state_dict(walk.cut())  # strict: nothing keeps its random initialisation
    return network.eval()


def _features(walk: Walk, net: features.Features) -> Layout:
    """Returns what goes to the kernels. The two halves of a level are chosen each for itself."""

    def level(width: int, keep: int) -> Layout:
        return _channels(width // 2, keep // 2) + _channels(width // 2, keep // 2)

    widths = walk.widths("features")
    down = [level(*each) for each in widths]
    up = [level(*widths[0]), *down[1:]]  # added to what came down, but for the finest
    for block, ins, outs in zip(net.down, (_channels(6), *down[:-1]), down, strict=True):
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
            walk.carry(seen, _channels(walk.network.config.kernel_size**2), stack)
    walk.copy(net)


def _flow(walk: Walk, net: flow.Flow) -> None:
    levels = [_channels(*each) for each in walk.widths("flow")]
    for level, ins, outs in zip(net.pyramid, (_channels(3), *levels[:-1]), levels, strict=True):
        walk.carry(ins, outs, level)
    x: Layout = ()
    for module, first in zip(reversed(net.decoders), reversed(levels[1:]), strict=True):
        decoder, coarser = cast(flow.Decoder, module), x
        x = _matches(first)
        if coarser:
            walk.carry(_channels(2), _channels(2), decoder.enlarge_flow)
            walk.carry(coarser, _channels(2), decoder.enlarge_features)
            x = x + first + _channels(2 + 2)
        for layer, width in zip(decoder.dense, flow.DENSE, strict=True):
            made = _channels(width)
            walk.carry(x, made, layer)
            x = made + x
        walk.carry(x, _channels(2), decoder.predict)
    walk.carry(x, _channels(2), net.refine)
    walk.copy(net)


def _motion(walk: Walk, net: motion.Motion) -> Layout:
    """Returns the hints at half the frame's size."""
    widths = walk.widths("refine")
    encoded = [_channels(width // 2, keep // 2) for width, keep in widths]
    hints = [_channels(width, keep) for width, keep in widths]
    coarser = [*(_channels(width // 4, keep // 4) for width, keep in widths[1:]), ()]
    for level, ins, outs in zip(net.encode, (_channels(3), *encoded[:-1]), encoded, strict=True):
        walk.carry(ins, outs, level)
    for number, module in enumerate(net.refine):
        level, seen = cast(motion.Refine, module), encoded[number]
        matches = 2 * _matches(seen) if level.matches else ()
        x = _channels(*widths[number])
        walk.carry(len(motion.VIEWS) * seen + matches + _channels(8 + 2) + coarser[number], x, level.enter)
        walk.carry(x, x, level.middle)
        walk.carry(x, hints[number], level.leave)
        walk.carry(hints[number], _channels(level.predict.out_channels), level.predict)
    for layer, ins, outs in zip(net.enlarge, hints[1:], coarser, strict=False):
        walk.carry(ins, tuple(piece._replace(span=4) for piece in outs), layer)  # four pixels each
    walk.carry(_channels(4 * motion.MERGED) + hints[0], _channels(4 * 3), net.mend)
    return hints[0]


def _fusion(walk: Walk, net: fusion.Fusion, candidates: dict[float, Layout]) -> None:
    rows = [_channels(*each) for each in walk.widths("grid")]
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
    _lateral(walk, net.final, rows[net.out_row], _channels(3))


def _lateral(walk: Walk, block: nn.Module, ins: Layout, outs: Layout) -> None:
    block = cast(fusion.Lateral, block)
    walk.carry(ins, outs, block.path)
    walk.shortcut(ins, outs, block.shortcut)


def _texture(walk: Walk, net: texture.Texture) -> None:
    widths = walk.widths("texture")
    x = _channels(*widths[0])
    walk.carry(_channels(3), x, net.stem)
    levels = [x]
    for stage, each in zip(net.stages, widths, strict=True):
        for module in cast(nn.Sequential, stage):
            block = cast(texture.Residual, module)
            outs = walk.behind(block.shortcut, x, _channels(*each))
            walk.carry(x, outs, block.first, block.second)
            walk.carry(outs, outs, block.gate)
            walk.shortcut(x, outs, block.shortcut)
            x = outs
        levels.append(x)
    levels.pop()
    skip: Layout = ()
    for up, level in zip(net.decoder, (2, 1, 0, 0, 0), strict=True):
        layer, gate, norm = cast(nn.Sequential, up)
        outs = _channels(*widths[level])
        walk.carry(x + skip, outs, layer, norm)
        walk.carry(outs, outs, gate)
        x, skip = outs, levels.pop() if levels else ()
    walk.carry(texture.SLICES * x, _channels(3), net.fuse, net.out)


class Channels:
    """Channels of the source, ``width`` of them, of which the ``keep`` that weigh most go on."""

    def __init__(self, width: int, keep: int):
        self.width, self.keep = width, keep
        self.groups = 1  # each keeps as many
        self.weight = torch.zeros(width, dtype=torch.float64)

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


def _channels(width: int, keep: int | None = None) -> Layout:
    """Channels that nothing shares yet; without ``keep`` all of them are kept."""
    return (Piece(Channels(width, width if keep is None else keep)),)


def _matches(compared: Layout) -> Layout:
    """The correlation of channels of which some are dropped: a mean over fewer."""
    share = sum(piece.channels.keep for piece in compared) / sum(piece.channels.width for piece in compared)
    return (Piece(Channels(MATCHES, MATCHES), gain=share),)


def _indices(layout: Layout) -> Tensor:
    """The source's rows or columns that are kept, (kept,), rising within a piece."""
    start, found = 0, [torch.empty(0, dtype=torch.long)]
    for channels, span, _ in layout:
        found.append((start + span * channels.kept()[:, None] + torch.arange(span)).flatten())
        start += span * channels.width
    return torch.cat(found)


def _gains(layout: Layout) -> Tensor:
    """What the kept columns are multiplied with, (kept,)."""
    return torch.cat([torch.full((span * channels.keep,), gain) for channels, span, gain in layout])


def _vote(layout: Layout, weights: Tensor) -> None:
    """Add the weights of all rows or columns, of the dropped ones too, to their channels'."""
    shares = torch.split(weights, [span * channels.width for channels, span, _ in layout])
    for (channels, span, _), share in zip(layout, shares, strict=True):
        channels.weight += share.view(-1, span).mean(1)


class Layer(NamedTuple):
    """A layer of the new network, its twin in the source, and the channels that enter and leave it."""

    new: nn.Module
    old: nn.Module
    ins: Layout | None
    """None for a layer without columns: it goes by its outs, or is copied whole if they are None too."""
    outs: Layout | None

    def weigh(self) -> None:
        """Tell the channels on both sides how much they weigh here."""
        if isinstance(self.new, Connected) and isinstance(self.old, Connected):
            weight = _matrix(self.old).abs().double()
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
            tensors = {
                name: tensor[rows] if tensor.dim() == 1 else tensor for name, tensor in tensors.items()
            }
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


def _cut_matrix(layer: Connected, rows: Tensor, ins: Layout) -> Tensor:
    """The kept rows and columns of a layer's weight, in its own order of dimensions."""
    weight = _matrix(layer)
    groups, height, width, _ = weight.shape
    rows = rows.view(groups, -1, 1) % height
    columns = _indices(ins).view(groups, 1, -1) % width
    weight = weight[torch.arange(groups).view(-1, 1, 1), rows, columns] * _gains(ins).view(groups, 1, -1, 1)
    if isinstance(layer, TRANSPOSED):
        weight = weight.transpose(1, 2)
    return weight.reshape(-1, *weight.shape[2:3], *layer.weight.shape[2:])


def _matrix(layer: Connected) -> Tensor:
    """A layer's weight as (groups, rows, columns, taps): rows make what leaves, columns take what enters."""
    weight = layer.weight.detach().cpu()
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    weight = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return weight.transpose(1, 2) if isinstance(layer, TRANSPOSED) else weight


def _tensors(layer: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """A layer's own parameters and buffers by name."""
    return (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))


class Walk:
    """Which channels enter and leave the layers of ``network``, which is to be cut from ``source``."""

    def __init__(self, source: STMFNet, network: STMFNet):
        self.source, self.network = source, network
        self.names = {module: name for name, module in network.named_modules()}
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
                before, at = at, outs if new is last else _channels(_rows(old), _rows(new))
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
        for layer in self.layers:
            layer.weigh()
        state: dict[str, Tensor] = {}
        for layer in self.layers:
            for name, tensor in layer.cut().items():
                key = f"{self.names[layer.new]}.{name}"
                assert key not in state, f"{key} is carried twice"
                state[key] = tensor
        return state


def _rows(layer: nn.Module) -> int:
    """How many channels leave a layer."""
    groups, rows, _, _ = _matrix(cast(Connected, layer)).shape
    return groups * rows


def _check(old: ModelConfig, new: ModelConfig) -> None:
    """ValueError unless ``new`` has the branches, scales and widths of ``old`` or less, and its kernels."""
    if not set(new.scales) <= set(old.scales):
        raise ValueError(f"expected scales of the source, some of {old.scales}, got {new.scales}")
    grid = old.grid and tuple(
        width for width, scale in zip(old.grid, old.scales, strict=True) if scale in new.scales
    )
    for name, bound, got in (
        ("features", old.features, new.features),
        ("kernel_hidden", old.kernel_hidden, new.features and new.kernel_hidden),
        ("flow", old.flow, new.flow),
        ("refine", old.refine, new.refine),
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


def _within(got: object, bound: object) -> bool:
    """Whether widths are at most others, level by level; anything else only if it is the same."""
    if isinstance(got, tuple) and isinstance(bound, tuple):
        return len(got) == len(bound) and all(map(_within, got, bound))
    return got <= bound if isinstance(got, int) and isinstance(bound, int) else got == bound
