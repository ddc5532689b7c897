"""Densities: the fraction of nonzero weights in each layer of a sparsified network.

    model --densities--> Densities: layers --> parts    (features, multi_flow, ...)
                                           --> widths   (features.0, kernel_hidden, grid.0.5, ...)

Only weights of convolutions and linear layers that reach the output count. Biases, norms, constants and the
fusion grid's unused blocks are neither penalised nor counted: they would stay dense for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from tweenlet.network.channels import ChannelGraph
from tweenlet.network.checkpoint import outline
from tweenlet.network.config import NARROWEST_FEATURE, ModelConfig
from tweenlet.network.stmfnet import STMFNet
from tweenlet.network.weight_files import rename_from_format_1
from tweenlet.runtime.tables import table

STEPS = {"features": NARROWEST_FEATURE, "level": 8}
"""Steps of widths, at least one step; other widths have steps of one."""


@dataclass(frozen=True)
class Density:
    """Number of nonzero weights among a total."""

    nonzero: int
    total: int

    @property
    def share(self) -> float:
        """Fraction of nonzero weights, in [0, 1]."""
        return self.nonzero / self.total


@dataclass(frozen=True)
class Densities:
    """Density of every layer, by its name in the network."""

    layers: Mapping[str, Density]

    def of(self, layers: Collection[str] | None = None) -> Density:
        """Density of some layers together, default all; ValueError if none of them is known."""
        chosen = [d for name, d in self.layers.items() if layers is None or name in layers]
        if not chosen:
            raise ValueError(f"expected some of the layers {', '.join(list(self.layers)[:3])} ..., got none")
        return Density(sum(d.nonzero for d in chosen), sum(d.total for d in chosen))

    @property
    def parts(self) -> dict[str, Density]:
        """Density of each part of the network, in the order of the data flow."""
        parts: dict[str, list[str]] = {}
        for name in self.layers:
            parts.setdefault(name.split(".")[0], []).append(name)
        return {part: self.of(names) for part, names in parts.items()}

    def without(self, layers: Collection[str]) -> Densities:
        """Densities of all other layers."""
        return Densities({name: d for name, d in self.layers.items() if name not in layers})

    def widths(self, config: ModelConfig, only: ModelConfig | None = None) -> dict[str, Density]:
        """Density of each width of ``config``, over all layers with that output width.

        Names are those of :func:`widths_of`; ``only`` restricts them to widths of another config.
        """
        layers = layers_of(config)
        return {name: self.of(layers[name]) for name in widths_of(only or config)}

    def to_json(self) -> dict[str, list[int]]:
        """Plain JSON types: {layer: [nonzero, total]}."""
        return {name: [density.nonzero, density.total] for name, density in self.layers.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Iterable[int]]) -> Densities:
        """The inverse of :meth:`to_json`."""
        return cls({name: Density(*pair) for name, pair in rename_from_format_1(values).items()})

    def markdown(self) -> str:
        """Table of layers, parts and total, in Markdown."""
        rows = [("**all**", self.of()), *((f"**{name}**", density) for name, density in self.parts.items())]
        rows += self.layers.items()
        cells = [(name, f"{d.total:,}", f"{d.nonzero:,}", f"{d.share:.3f}") for name, d in rows]
        return table(("layer", "weights", "not zero", "density"), cells) + "\n"


def densities(model: nn.Module) -> Densities:
    """Measure the density of each layer of a model."""
    layers = dict(counted_layers(model))
    left = torch.stack([layer.weight.count_nonzero() for layer in layers.values()]).tolist()
    return Densities(
        {
            name: Density(nonzero, layer.weight.numel())
            for (name, layer), nonzero in zip(layers.items(), left, strict=True)
        }
    )


def counted_layers(model: nn.Module) -> Iterator[tuple[str, _ConvNd | nn.Linear]]:
    """Layers that count, by name: convolutions and linear layers that reach the output."""
    unused: set[nn.Module] = set()
    if isinstance(model, STMFNet) and model.fusion is not None:
        for row in range(model.fusion.out_row):
            unused.update(layer for block in model.fusion.unused_blocks(row) for layer in block.modules())
    for name, layer in model.named_modules():
        if isinstance(layer, _ConvNd | nn.Linear) and layer not in unused:
            yield name, layer


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups for OBProxSG: one per layer that counts, and one of parameters without a penalty.

    A layer's penalty is proportional to the root mean square of its weights: a single lambda would empty
    layers with many inputs, whose weights are small, before less important ones.
    """
    weights = [layer.weight for _, layer in counted_layers(model)]
    chosen = {id(weight) for weight in weights}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
    sizes = [max(float(weight.detach().square().mean().sqrt()), 1e-6) for weight in weights]
    layers = [{"params": [w], "scale": size} for w, size in zip(weights, sizes, strict=True)]
    return [*layers, {"params": others, "lambda_": 0.0}]


def widths_of(config: ModelConfig) -> dict[str, int]:
    """Every width of a config by name: features.0 (finest first), kernel_hidden, grid.2 (by scale), ..."""
    widths: dict[str, int] = {}
    if config.intermediate:
        return {f"level.{level.scale}": level.width for level in config.intermediate.levels}
    for field in ("features", "flow", "texture"):
        value = getattr(config, field)
        if isinstance(value, tuple):
            widths |= {f"{field}.{level}": width for level, width in enumerate(value)}
    if config.features:
        widths["kernel_hidden"] = config.kernel_hidden
    if config.grid:
        widths |= {f"grid.{scale:g}": w for scale, w in zip(config.scales, config.grid, strict=True)}
    if config.texture:
        widths["texture_out"] = config.texture_out
    return widths


def with_widths(config: ModelConfig, widths: Mapping[str, int]) -> ModelConfig:
    """The config with other widths, one per name of :func:`widths_of`; ValueError for invalid ones."""
    if config.intermediate:
        levels = tuple(
            replace(level, width=widths[f"level.{level.scale}"]) for level in config.intermediate.levels
        )
        return replace(config, intermediate=replace(config.intermediate, levels=levels))
    fields: dict[str, Any] = {}
    for name, width in widths.items():
        field, _, place = name.partition(".")
        fields[field] = (*fields.get(field, ()), width) if place else width
    return replace(config, **fields)


@cache
def layers_of(config: ModelConfig) -> Mapping[str, frozenset[str]]:
    """The layers that make up each width of a config, as the network's blocks state them."""
    network = outline(config)
    graph = ChannelGraph(network, config)
    network.declare_channels(graph)
    return {width: frozenset(layers) for width, layers in graph.layers.items()}
