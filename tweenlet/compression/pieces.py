"""Pieces: branches, scales and levels that can be removed, alone and together.

    config --pieces--------> {name: config without it}
           --combinations--> {set of names: config without all of them}      some dozens at most

A piece is removed as a whole, with every layer that only serves it. Essential elements are no pieces: the
last branch with candidates, the frame's own scale, the coarsest level of intermediate flow.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from tweenlet.compression.channels import Inheritance
from tweenlet.network.checkpoint import outline
from tweenlet.network.config import ModelConfig

BRANCHES = {
    "the flow branch": ("flow",),
    "the kernel branch": ("features", "multi_flow"),
    "the texture branch": ("texture",),
}
"""Parts of each branch; the first is also the config's field that is None without it."""
SCALE, LEVEL = "the scale of ", "the level of scale "


def pieces(config: ModelConfig) -> dict[str, ModelConfig]:
    """Pieces of a network, by name, and its config without each."""
    if config.intermediate is not None:
        return _levels(config)
    less = dict[str, ModelConfig]()
    for name, (field, *_) in BRANCHES.items():
        _add(less, name, config, {field: None})
    if config.grid:
        for scale, left in ((config.scales[0], slice(1, None)), (config.scales[-1], slice(-1))):
            _add(
                less, f"{SCALE}{scale:g}", config, {"scales": config.scales[left], "grid": config.grid[left]}
            )
    return less


def combinations(config: ModelConfig) -> dict[frozenset[str], ModelConfig]:
    """Every set of pieces that can be removed together, the empty one included, and the config without it."""
    sets = {frozenset[str](): config}
    pending = list(sets)
    while pending:
        names = pending.pop()
        for name, without in pieces(sets[names]).items():
            if names | {name} not in sets:
                sets[names | {name}] = without
                pending.append(names | {name})
    return sets


@cache
def layers_of_piece(name: str, config: ModelConfig) -> frozenset[str]:
    """Layers of ``config`` that go with a piece, because the network without it has no counterpart."""
    full = outline(config)
    if name in BRANCHES:
        parts = [getattr(full, part) for part in BRANCHES[name]]
        removed = {module for part in parts if part is not None for module in part.modules()}
    elif full.intermediate is not None:
        levels = {f"{LEVEL}{level.scale}": level for level in full.intermediate.levels}
        removed = set(levels[name].modules())
    else:
        rest = outline(pieces(config)[name])
        graph = Inheritance(full, rest)
        removed = {*full.modules()} - {graph.counterpart(module) for module in rest.modules()}
    return frozenset(layer for layer, module in full.named_modules() if module in removed)


def _levels(config: ModelConfig) -> dict[str, ModelConfig]:
    """Every level but the coarsest and, with four frames, the finest, which takes the acceleration."""
    branch = config.intermediate
    assert branch is not None
    optional = branch.levels[1:-1] if branch.four_frames else branch.levels[1:]
    return {
        f"{LEVEL}{gone.scale}": replace(
            config,
            intermediate=replace(branch, levels=tuple(level for level in branch.levels if level != gone)),
        )
        for gone in optional
    }


def _add(less: dict[str, ModelConfig], name: str, config: ModelConfig, fields: dict[str, object]) -> None:
    """Add the config with other ``fields`` if it is valid and differs."""
    try:
        without = replace(config, **fields)  # type: ignore[arg-type]
    except ValueError:  # the rest depends on it
        return
    if without != config:
        less[name] = without
