"""Search: which channels, blocks, levels and branches to remove, to meet a budget at the least loss.

    network --measure--> saliency --rank: loss per cost saved--> shortest prefix that meets the target --+
       ^                                                                                                 |
       +------------------------------- inherit: the smaller network, measured again <-------------------+

A unit is a group of channels of a width, a residual block of a level, or a whole piece (a level, branch or
scale). Units are ranked by loss per parameter, multiply-add or millisecond saved. The first-order estimate
holds for small changes only, so a large reduction takes several rounds, each with a new measurement.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from tweenlet.compression.channels import Saliency
from tweenlet.compression.densities import STEPS, widths_of, with_widths
from tweenlet.compression.inherit import inherit
from tweenlet.compression.pieces import combinations, pieces
from tweenlet.compression.widths import NARROWEST, Spending, with_shortcuts
from tweenlet.network.config import ModelConfig
from tweenlet.network.stmfnet import STMFNet

ROUND = 1.6
"""Largest factor of cost reduction between two measurements of saliency."""
GROUP = 8
"""Channels of a level's stream per unit; for other widths a sixteenth."""
REFILLED = 24
"""Units to reconsider once the target is met, for room left by larger ones."""

Measure = Callable[[STMFNet], Saliency]


@dataclass(frozen=True)
class Unit:
    """An element that can be removed from a network."""

    kind: str
    """"channels", "block" or "piece"."""
    name: str
    """Name of the width, of the level's width, or of the piece."""
    loss: float
    """Expected rise of the loss without it, in the unit of the saliency."""


@dataclass(frozen=True)
class Round:
    """One reduction of a network."""

    config: ModelConfig
    """The config after the reduction."""
    saliency: Saliency
    """Saliency by which surviving channels and blocks are chosen."""


def search(
    network: STMFNet, spent: Spending, measure: Measure, notify: Callable[[str], None] | None = None
) -> list[Round]:
    """Choose the least important units until a network meets the budget; :func:`cut` removes them.

    ``measure`` returns the saliency of a network, once per round; ``notify`` is called with each round's
    reductions. ValueError for a budget that cannot be met, with the smallest one that can.
    """
    check_feasible(network.config, spent)
    limit = spent.budget.limit
    original, rounds = network.config, list[Round]()
    while (cost := spent(network.config)) > limit:
        count = max(1, math.ceil(math.log(cost / limit) / math.log(ROUND)))
        saliency = measure(network)
        config = reduce(network.config, saliency, spent, cost * (limit / cost) ** (1 / count), original)
        if notify:
            notify(f"{spent.budget.say(spent(config))}: {describe(network.config, config)}")
        rounds.append(Round(config, saliency))
        network = cut(network, rounds[-1:])
    return rounds


def check_feasible(config: ModelConfig, spent: Spending) -> None:
    """ValueError for a budget that no search from a config meets, with the smallest one that can be met."""
    least = min(spent(_least(candidate)) for candidate in combinations(config).values())
    if least > spent.budget.limit:
        raise ValueError(
            f"no network of this family costs {spent.budget}: the smallest that this one can become costs "
            f"{spent.budget.say(least)}"
        )


def cut(network: STMFNet, rounds: Iterable[Round]) -> STMFNet:
    """The network after the rounds of a search; float32, CPU, eval mode."""
    for each in rounds:
        network = inherit(network, each.config, each.saliency)
    return network


def reduce(
    config: ModelConfig, saliency: Saliency, spent: Spending, target: float, original: ModelConfig
) -> ModelConfig:
    """The config without the units of least loss per cost saved, at a cost of at most ``target``."""
    ranked = rank(config, saliency, spent, target)

    def without(taken: Iterable[Unit]) -> ModelConfig:
        return _apply(config, taken, original, spent)

    few, many = 0, len(ranked)
    while few < many:
        middle = (few + many) // 2
        few, many = (few, middle) if spent(without(ranked[:middle])) <= target else (middle + 1, many)
    taken = list(ranked[:many])
    for unit in ranked[max(0, many - REFILLED) : many][::-1]:
        fewer = [other for other in taken if other is not unit]
        if spent(without(fewer)) <= target:
            taken = fewer
    return without(taken)


def rank(config: ModelConfig, saliency: Saliency, spent: Spending, target: float) -> list[Unit]:
    """All removable units of a network, by loss per cost saved, lowest first.

    Savings beyond the target do not count.
    """
    cost = spent(config)
    ranked: list[tuple[float, Unit]] = []

    def add(units: Iterable[Unit], smaller: ModelConfig) -> None:
        saved = cost - spent(smaller)
        if saved > 0:
            ranked.extend((unit.loss / min(saved, cost - target), unit) for unit in units)

    widths = widths_of(config)
    for name, width in widths.items():
        step, least = _step(name, width)
        losses = saliency.marginals[name].tolist()
        units = [
            Unit("channels", name, sum(losses[start : start + step]))
            for start in range(0, width - least - step + 1, step)
        ]
        if units:
            add(units, with_widths(config, {**widths, name: width - step}))
    for name, scores in saliency.blocks.items():
        rising = sorted(max(score, 0.0) for score in scores)[:-1]
        if rising:
            add((Unit("block", name, score) for score in rising), _shallower(config, {name: 1}))
    for name, without in pieces(config).items():
        add([Unit("piece", name, max(saliency.pieces.get(name, 0.0), 0.0))], without)
    return [unit for _, unit in sorted(ranked, key=lambda pair: pair[0])]


def describe(before: ModelConfig, after: ModelConfig) -> str:
    """The reduction as text: 192 -> 176 channels and 8 -> 7 blocks at level 16, ..."""
    old, new = widths_of(before), widths_of(after)
    depths = _depths(before), _depths(after)
    words = []
    for name, width in old.items():
        if name not in new:
            words.append(f"no {name}")
            continue
        if new[name] != width:
            words.append(f"{name} {width} -> {new[name]}")
        if depths[0].get(name) != depths[1].get(name):
            words.append(f"{name} {depths[0][name]} -> {depths[1][name]} blocks")
    return ", ".join(words) or "nothing"


def _apply(config: ModelConfig, units: Iterable[Unit], original: ModelConfig, spent: Spending) -> ModelConfig:
    """The config without some units; a piece stays if the rest could not meet the budget without it."""
    counts = Counter((unit.kind, unit.name) for unit in units)
    waiting = [name for kind, name in counts if kind == "piece"]
    while gone := next((name for name in waiting if _can_go(name, config, spent)), None):
        waiting.remove(gone)
        config = pieces(config)[gone]
    widths = widths_of(config)
    narrowed = {
        name: width - counts["channels", name] * _step(name, width)[0] for name, width in widths.items()
    }
    shallower = _shallower(config, {name: counts["block", name] for name in widths})
    return with_shortcuts(with_widths(shallower, narrowed), original)


def _can_go(name: str, config: ModelConfig, spent: Spending) -> bool:
    without = pieces(config).get(name)
    if without is None:
        return False
    return any(spent(_least(other)) <= spent.budget.limit for other in combinations(without).values())


def _least(config: ModelConfig) -> ModelConfig:
    """The narrowest and shallowest valid config."""
    widths = widths_of(config)
    narrow = {
        name: width - _most_steps(name, width) * _step(name, width)[0] for name, width in widths.items()
    }
    depths = {name: max(0, depth - 1) for name, depth in _depths(config).items()}
    return with_widths(_shallower(config, depths), narrow)


def _most_steps(name: str, width: int) -> int:
    step, least = _step(name, width)
    return max(0, (width - least) // step)


def _step(name: str, width: int) -> tuple[int, int]:
    """Channels of a width per unit, and the fewest that must stay."""
    field = name.partition(".")[0]
    if field == "level":
        return GROUP, GROUP
    step = STEPS.get(field, 1)
    return max(step, step * round(width / 16 / step)), step if step > 1 else NARROWEST


def _depths(config: ModelConfig) -> dict[str, int]:
    branch = config.intermediate
    return {f"level.{level.scale}": level.blocks for level in branch.levels} if branch else {}


def _shallower(config: ModelConfig, less: dict[str, int]) -> ModelConfig:
    """The config with fewer residual blocks in some levels."""
    if config.intermediate is None:
        return config
    levels = tuple(
        replace(level, blocks=level.blocks - less.get(f"level.{level.scale}", 0))
        for level in config.intermediate.levels
    )
    return replace(config, intermediate=replace(config.intermediate, levels=levels))
