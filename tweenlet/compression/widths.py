"""Compact: from densities to the widths of a smaller network (the step that the papers do by hand).

    config, densities --drop thin pieces---------> widths * sqrt(density)
                      --one factor for all widths, to meet a budget-----> config

A layer of In x Out weights with density d is replaced by one of sqrt(d) In x sqrt(d) Out, as in CDFI (Ding et
al., CVPR 2021). A width shared by several layers follows their joint density, and constraints are respected:
the ResNeXt takes multiples of 32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, TypeVar

from tweenlet.compression.budget import Budget
from tweenlet.compression.densities import STEPS, Densities, widths_of, with_widths
from tweenlet.compression.pieces import combinations, layers_of_piece, pieces
from tweenlet.inference.latency import latency_runs
from tweenlet.network.config import ModelConfig
from tweenlet.network.cost import cost
from tweenlet.network.stmfnet import STMFNet, candidate_channels
from tweenlet.runtime.tables import table

DROP = 0.05
"""Density below which a branch or scale is dropped: its widths would shrink to a fifth."""
SQUEEZE = 0.5
"""Fraction of their density-given size that widths may shrink to before a branch or scale is dropped."""
NARROWEST = 4
BISECTIONS = 12
TURNS = 3
"""Timed runs per network."""


def compact(
    config: ModelConfig,
    densities: Densities,
    budget: Budget | None = None,
    notify: Callable[[str], None] | None = None,
    losses: Mapping[str, float] | None = None,
) -> ModelConfig:
    """The config of a compact network, from the densities of a sparsified one.

    With a ``budget``, it is the widest one whose widths have the proportions given by the densities. The
    pieces removed are the set of least loss with which the budget can be met; ``losses`` are measured without
    each piece, by name, and default to densities. ``notify`` is called with the pieces removed. ValueError
    for a budget that cannot be met, with the smallest one that can.
    """
    notify = notify or (lambda _: None)
    reduced, left = config, densities
    if losses is None:
        reduced, left = _without_thinnest(config, densities, notify)
    if budget is None:
        return _scaled(reduced, config, _shares(reduced, config, left), 1.0)
    spent = Spending(budget)
    names, reduced = _feasible(reduced, config, left, spent, losses)
    for name in names:
        reason = f"density {_density(name, config, left):.3f}"
        if losses is not None:
            reason = f"without it pictures move by {losses.get(name, 0.0):.2e} (mean squared error)"
        notify(f"{name} is dropped to meet the budget: {reason}")
    return _widest(reduced, config, _shares(reduced, config, left), spent, budget.limit)


def _without_thinnest(
    config: ModelConfig, densities: Densities, notify: Callable[[str], None]
) -> tuple[ModelConfig, Densities]:
    """Drop the pieces of density below DROP, the least dense first."""
    reduced, left = config, densities
    while single := pieces(reduced):
        name = min(single, key=lambda name: _density(name, config, left))
        share = _density(name, config, left)
        if share >= DROP:
            break
        notify(f"{name} is dropped: its density is {share:.3f}, under {DROP}")
        reduced, left = single[name], left.without(layers_of_piece(name, config))
    return reduced, left


def _feasible(
    reduced: ModelConfig,
    original: ModelConfig,
    densities: Densities,
    spent: Spending,
    losses: Mapping[str, float] | None,
) -> tuple[frozenset[str], ModelConfig]:
    """The set of pieces of least loss without which the budget can be met, and the remaining config.

    Widths should shrink to no less than SQUEEZE of their density-given size; if no set allows that, to any.
    """

    def loss(names: frozenset[str]) -> tuple[float, int]:
        each = losses or {name: _density(name, original, densities) for name in names}
        return sum(max(each.get(name, 0.0), 0.0) for name in names), len(names)

    sets = combinations(reduced)
    least = math.inf
    for squeeze in (SQUEEZE, 0.0):
        for names in sorted(sets, key=loss):
            amount = spent(_scaled(sets[names], original, _shares(sets[names], original, densities), squeeze))
            least = min(least, amount)
            if amount <= spent.budget.limit:
                return names, sets[names]
    raise ValueError(
        f"no network of this family costs {spent.budget}: the smallest that this one can become costs "
        f"{spent.budget.say(least)}"
    )


def _density(name: str, original: ModelConfig, densities: Densities) -> float:
    return densities.of(layers_of_piece(name, original)).share


def _shares(reduced: ModelConfig, original: ModelConfig, densities: Densities) -> dict[str, float]:
    return {name: density.share for name, density in densities.widths(original, only=reduced).items()}


def _scaled(
    config: ModelConfig,
    original: ModelConfig,
    shares: Mapping[str, float],
    factor: float,
    stepped: float | None = None,
) -> ModelConfig:
    """A config with each width of ``original`` times the root of its density times a factor, rounded.

    ``stepped`` is the factor of widths with steps, if different.
    """

    def scaled(name: str, width: int) -> int:
        step = STEPS.get(name.split(".")[0], 1)
        least = step if step > 1 else NARROWEST
        by = factor if stepped is None or step == 1 else stepped
        wanted = step * round(width * math.sqrt(shares[name]) * by / step)
        return min(width, max(least, wanted))

    scaled_widths = {name: scaled(name, width) for name, width in widths_of(config).items()}
    return with_shortcuts(with_widths(config, scaled_widths), original)


def with_shortcuts(config: ModelConfig, original: ModelConfig) -> ModelConfig:
    """The config, a channel wider or narrower where a shortcut's convolution would become an identity.

    An identity could not inherit the convolution.
    """
    grid, texture = config.grid, config.texture
    if grid and original.grid:
        rows, entered, entering = (
            dict(zip(original.scales, original.grid, strict=True)),
            candidate_channels(original),
            candidate_channels(config),
        )
        grid = tuple(
            width - (width == entering[scale] and rows[scale] != entered[scale])
            for scale, width in zip(config.scales, grid, strict=True)
        )
    if (
        texture
        and original.texture
        and texture[2] == texture[3]
        and original.texture[2] != original.texture[3]
    ):
        texture = (*texture[:3], texture[3] + (1 if texture[3] < original.texture[3] else -1))
    return replace(config, grid=grid, texture=texture)


class Spending:
    """Costs of configs in a budget's unit, cached."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._known: dict[ModelConfig, float] = {}

    def __call__(self, config: ModelConfig) -> float:
        """Cost of a config, in the budget's unit."""
        if config not in self._known:
            self._known[config] = self.budget.spent(config)
        return self._known[config]


def _widest(
    config: ModelConfig, original: ModelConfig, shares: Mapping[str, float], spent: Spending, limit: float
) -> ModelConfig:
    """The widest config within the limit: one factor for all widths, then one for those without steps.

    A step of 32 channels can be so large that the last one that fits leaves much of the budget unused.
    """
    most = max(1 / math.sqrt(max(share, 0.01)) for share in shares.values())

    def fits(factor: float, stepped: float | None = None) -> bool:
        return spent(_scaled(config, original, shares, factor, stepped)) <= limit

    stepped = _largest(fits, 0.0, most)
    factor = _largest(lambda factor: fits(factor, stepped), stepped, most)
    return _scaled(config, original, shares, factor, stepped)


def _largest(fits: Callable[[float], bool], low: float, high: float) -> float:
    """The largest number up to ``high`` that fits, by bisection; ``low`` fits."""
    if fits(high):
        return high
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@dataclass(frozen=True)
class Row:
    """One part of a network, before and after."""

    part: str
    widths: tuple[tuple[int, ...], tuple[int, ...]]
    """Widths before and after, finest first; empty if the part does not exist."""
    densities: tuple[float, ...]
    """Density of each width before."""
    parameters: tuple[int, int]
    multiply_adds: tuple[int, int]
    """Multiply-adds per new frame, before and after."""
    milliseconds: tuple[float, float] | None
    """Milliseconds per new frame, measured on this machine; None unless timed."""


@dataclass(frozen=True)
class Compaction:
    """Comparison of two networks, part by part; the last row is the total."""

    before: ModelConfig
    after: ModelConfig
    width: int
    height: int
    """Size of the frame, in pixels."""
    rows: tuple[Row, ...]
    spread: tuple[tuple[float, float], ...] = ()
    """Minimum and maximum milliseconds in total, before and after, if measured."""

    def markdown(self) -> str:
        """Table of parts: widths, densities if any, parameters, multiply-adds, milliseconds."""
        timed, sparse = self.rows[-1].milliseconds is not None, any(row.densities for row in self.rows)
        head = ["part", "width", *["density"] * sparse, "parameters", "multiply-adds (G)", *["ms"] * timed]
        lines = []
        for row in self.rows:
            cells = [row.part, " -> ".join(map(_listed, row.widths)) if any(row.widths) else "-"]
            cells += [" ".join(f"{density:.3f}" for density in row.densities) or "-"] * sparse
            cells += ["{:,} -> {:,}".format(*row.parameters)]
            cells += ["{:.2f} -> {:.2f}".format(*(m / 1e9 for m in row.multiply_adds))]
            cells += ["{:.0f} -> {:.0f}".format(*row.milliseconds)] if row.milliseconds else []
            lines.append(cells)
        times = [f"{least:,.0f} to {most:,.0f}" for least, most in self.spread]
        spread = (
            f"; ms are medians of {TURNS} runs in turn, which took {' and '.join(times)}" if times else ""
        )
        return table(head, lines) + f"\n\nFor one new frame of {self.width}x{self.height}{spread}.\n"

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain JSON types."""
        return {**asdict(self), "before": self.before.to_json(), "after": self.after.to_json()}


def compaction(
    before: ModelConfig,
    after: ModelConfig,
    densities: Densities | None,
    size: tuple[int, int] = (854, 480),
    timed: bool = False,
) -> Compaction:
    """Compare two configs for frames of a (width, height); ``timed`` measures milliseconds on this machine.

    ``densities`` are those of a network sparsified in between, if any.
    """
    width, height = size
    configs = before, after
    costs = [cost(config, height, width) for config in configs]
    runs = _time_in_turn(configs, height, width) if timed else None
    times = [{name: median(taken) for name, taken in each.items()} for each in runs] if runs else None
    shares = densities.widths(before) if densities else {}
    rows = []
    for part in costs[0].parts:
        named = [{n: w for n, w in widths_of(config).items() if part_of(n) == part} for config in configs]
        counts = [found.parts.get(part) for found in costs]
        rows.append(
            Row(
                part,
                (tuple(named[0].values()), tuple(named[1].values())),
                tuple(shares[name].share for name in named[0] if name in shares),
                _pair(c.parameters if c else 0 for c in counts),
                _pair(c.multiply_adds if c else 0 for c in counts),
                _pair(t.get(part, 0.0) for t in times) if times else None,
            )
        )
    total = Row(
        "all", ((), ()), (densities.of().share,) if densities else (), _pair(c.parameters for c in costs),
        _pair(c.multiply_adds for c in costs), _pair(t["all"] for t in times) if times else None,
    )  # fmt: skip
    spread = tuple((min(each["all"]), max(each["all"])) for each in runs) if runs else ()
    return Compaction(before, after, width, height, (*rows, total), spread)


def _time_in_turn(configs: Iterable[ModelConfig], height: int, width: int) -> list[dict[str, list[float]]]:
    """Milliseconds of networks by part and run, alternating, so that a busy machine slows all alike."""
    models = [STMFNet(config) for config in configs]
    runs: list[dict[str, list[float]]] = [{} for _ in models]
    for _ in range(TURNS):
        for model, times in zip(models, runs, strict=True):
            for name, taken in latency_runs(model, height, width, 1).items():
                times.setdefault(name, []).extend(taken)
    return runs


PARTS = {
    "features": "features", "kernel_hidden": "multi_flow", "flow": "flow",
    "grid": "fusion", "texture": "texture", "texture_out": "texture", "level": "intermediate",
}  # fmt: skip
"""Field of widths -> part of the network."""


def part_of(width: str) -> str:
    """The part of the network, as named in the cost, that a width belongs to."""
    field, _, place = width.partition(".")
    return f"level 1/{place}" if field == "level" else PARTS[field]


Number = TypeVar("Number", int, float)


def _pair(numbers: Iterable[Number]) -> tuple[Number, Number]:
    before, after = numbers
    return before, after


def _listed(widths: tuple[int, ...]) -> str:
    return " ".join(map(str, widths)) or "-"
