"""Compact: from densities to the widths of a smaller network (the step that the papers leave to handwork).

    config, densities --drop what is not needed--> widths * sqrt(density)
                      --one factor for all widths, to meet a budget-----> config

A layer with In x Out weights of which a share d is used is replaced by one of sqrt(d) In x sqrt(d) Out, as
CDFI does (Ding et al., CVPR 2021); here a width that several layers share follows all of them together, and
what cannot be built is respected: the ResNeXt takes multiples of 32, classical motion multiples of 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from tweenlet.compression.budget import Budget
from tweenlet.compression.densities import Densities, layers_of_scale, widths_of
from tweenlet.inference.latency import latency
from tweenlet.network.config import NARROWEST_FEATURE, ModelConfig
from tweenlet.network.cost import cost
from tweenlet.network.stmfnet import STMFNet, candidates

DROP = 0.05
"""A branch or scale of which less than this is left is dropped: its widths would shrink to a fifth."""
SQUEEZE = 0.5
"""To meet a budget, widths shrink to this much of what densities say before a branch or scale is dropped."""
STEPS = {"features": NARROWEST_FEATURE, "refine": 4}
"""Widths come in multiples of these, at least one; others in ones, from NARROWEST on."""
NARROWEST = 4
BISECTIONS = 12


def compact(
    config: ModelConfig,
    densities: Densities,
    budget: Budget | None = None,
    notify: Callable[[str], None] | None = None,
) -> ModelConfig:
    """The config of the network that is left of a sparsified one.

    With a ``budget``, the widest of those whose widths have the proportions that the densities say;
    ``notify`` hears what was tried. ValueError for a budget that cannot be met, naming the least that can.
    """
    notify = notify or (lambda _: None)
    kept, left = config, densities
    while (piece := _thinnest(kept, config, left)) and piece.density < DROP:
        notify(f"{piece.name} is dropped: its density is {piece.density:.3f}, under {DROP}")
        kept, left = piece.config, piece.densities
    if budget is None:
        return _scaled(kept, config, _shares(kept, config, left), 1.0)
    spent = _Spending(budget, notify)
    while spent(_scaled(kept, config, _shares(kept, config, left), SQUEEZE)) > budget.limit:
        piece = _thinnest(kept, config, left)
        if piece is None:
            break
        notify(f"{piece.name}, the least dense, is dropped to meet the budget: density {piece.density:.3f}")
        kept, left = piece.config, piece.densities
    shares = _shares(kept, config, left)
    least = _scaled(kept, config, shares, 0.0)
    if spent(least) > budget.limit:
        raise ValueError(
            f"no network of this family costs {budget}: the least that can be made of this one costs "
            f"{budget.say(spent(least))}"
        )
    return _widest(kept, config, shares, spent, budget.limit)


def _shares(kept: ModelConfig, whole: ModelConfig, densities: Densities) -> dict[str, float]:
    return {name: density.share for name, density in densities.widths(whole, only=kept).items()}


@dataclass(frozen=True)
class _Piece:
    """A branch or a scale that a network could do without."""

    name: str
    density: float
    config: ModelConfig
    """Of the network without it."""
    densities: Densities
    """Of what is left without it."""


def _thinnest(config: ModelConfig, whole: ModelConfig, densities: Densities) -> _Piece | None:
    """The least dense piece that can be left out of ``config``, if any; layers are named as in ``whole``."""
    pieces: list[tuple[str, str, dict[str, Any]]] = [
        ("the flow branch", r"flow\.", {"flow": None}),
        ("the kernel branch", r"features\.|kernels\.", {"features": None}),
        ("the texture branch", r"texture\.", {"texture": None}),
    ]
    if config.grid:
        for scale, left in ((config.scales[0], slice(1, None)), (config.scales[-1], slice(-1))):
            fewer: dict[str, Any] = {"scales": config.scales[left], "grid": config.grid[left]}
            pieces.append((f"the scale of {scale:g}", layers_of_scale(scale, whole), fewer))
    found = []
    for name, pattern, less in pieces:
        try:
            without = replace(config, **less)
        except ValueError:  # the others cannot do without it
            continue
        if without != config:
            share = densities.of(pattern).share
            found.append(_Piece(name, share, without, densities.without(pattern)))
    return min(found, key=lambda piece: piece.density, default=None)


def _scaled(
    config: ModelConfig,
    whole: ModelConfig,
    shares: Mapping[str, float],
    factor: float,
    stepped: float | None = None,
) -> ModelConfig:
    """What is kept of ``whole``, every width times the root of its density times a factor, as can be built.

    ``stepped`` is the factor of the widths that come in steps, where that is another.
    """

    def scaled(name: str, width: int) -> int:
        step = STEPS.get(name.split(".")[0], 1)
        least = step if step > 1 else NARROWEST
        by = factor if stepped is None or step == 1 else stepped
        wanted = step * round(width * math.sqrt(shares[name]) * by / step)
        return min(width, max(least, wanted))

    found = {name: scaled(name, width) for name, width in widths_of(config).items()}
    fields: dict[str, Any] = {}
    for name, width in found.items():
        field, _, place = name.partition(".")
        fields[field] = (*fields.get(field, ()), width) if place else width
    return _with_shortcuts(replace(config, **fields), whole)


def _with_shortcuts(found: ModelConfig, whole: ModelConfig) -> ModelConfig:
    """The config, a channel wider or narrower where a shortcut's convolution would turn into an identity.

    It would leave nothing of the one that was there, in the whole network, to inherit.
    """
    grid, texture = found.grid, found.texture
    if grid and whole.grid:
        rows, entered, entering = (
            dict(zip(whole.scales, whole.grid, strict=True)),
            candidates(whole),
            candidates(found),
        )
        grid = tuple(
            width - (width == entering[scale] and rows[scale] != entered[scale])
            for scale, width in zip(found.scales, grid, strict=True)
        )
    if texture and whole.texture and texture[2] == texture[3] and whole.texture[2] != whole.texture[3]:
        texture = (*texture[:3], texture[3] + (1 if texture[3] < whole.texture[3] else -1))
    return replace(found, grid=grid, texture=texture)


class _Spending:
    """What configs cost by a budget, each asked once."""

    def __init__(self, budget: Budget, notify: Callable[[str], None]) -> None:
        self._budget, self._notify = budget, notify
        self._known: dict[ModelConfig, float] = {}

    def __call__(self, config: ModelConfig) -> float:
        if config not in self._known:
            self._known[config] = self._budget.spent(config)
            if self._budget.kind == "ms":
                self._notify(f"{self._budget.say(self._known[config])}: {widths_of(config)}")
        return self._known[config]


def _widest(
    config: ModelConfig, whole: ModelConfig, shares: Mapping[str, float], spent: _Spending, limit: float
) -> ModelConfig:
    """The widest config that costs no more than the limit: by one factor, then widths without steps again.

    A step of 32 channels can be so large that the last one that fits leaves much of the budget.
    """
    most = max(1 / math.sqrt(max(share, 0.01)) for share in shares.values())

    def fits(factor: float, stepped: float | None = None) -> bool:
        return spent(_scaled(config, whole, shares, factor, stepped)) <= limit

    stepped = _largest(fits, 0.0, most)
    factor = _largest(lambda factor: fits(factor, stepped), stepped, most)
    return _scaled(config, whole, shares, factor, stepped)


def _largest(fits: Callable[[float], bool], low: float, high: float) -> float:
    """By bisection, the largest number up to ``high`` that fits; ``low`` does."""
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
    """Before and after, finest first; empty where the part is not."""
    densities: tuple[float, ...]
    """Of each width before."""
    parameters: tuple[int, int]
    multiply_adds: tuple[int, int]
    """For one new frame."""
    milliseconds: tuple[float, float] | None
    """For one new frame, measured here; None where that was not asked for."""


@dataclass(frozen=True)
class Compaction:
    """What compacting did to a network, part by part; the last row is of the whole."""

    before: ModelConfig
    after: ModelConfig
    width: int
    height: int
    """The size of the frame that was counted, in pixels."""
    rows: tuple[Row, ...]

    def markdown(self) -> str:
        """A table: part, width before, density, width after, parameters, multiply-adds, milliseconds."""
        timed = self.rows[-1].milliseconds is not None
        head = ["part", "width before", "density", "width after", "parameters", "multiply-adds (G)"]
        head += ["ms"] * timed
        lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
        for row in self.rows:
            cells = [row.part, _listed(row.widths[0]), " ".join(f"{d:.3f}" for d in row.densities)]
            cells += [_listed(row.widths[1]), "{:,} -> {:,}".format(*row.parameters)]
            cells += ["{:.2f} -> {:.2f}".format(*(m / 1e9 for m in row.multiply_adds))]
            cells += ["{:.0f} -> {:.0f}".format(*row.milliseconds)] if row.milliseconds else []
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) + f"\n\nFor one new frame of {self.width}x{self.height}.\n"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON types."""
        return {**asdict(self), "before": self.before.to_json(), "after": self.after.to_json()}


def compaction(
    before: ModelConfig,
    after: ModelConfig,
    densities: Densities,
    size: tuple[int, int] = (854, 480),
    timed: bool = False,
) -> Compaction:
    """Compare two configs for frames of a (width, height); ``timed`` measures milliseconds here and now."""
    width, height = size
    configs = before, after
    costs = [cost(config, height, width) for config in configs]
    times = [latency(STMFNet(config), height, width, runs=3) for config in configs] if timed else None
    shares = densities.widths(before)
    rows = []
    for part in costs[0].parts:
        named = [
            {n: w for n, w in widths_of(config).items() if PARTS[n.split(".")[0]] == part}
            for config in configs
        ]
        counts = [found.parts.get(part) for found in costs]
        rows.append(
            Row(
                part,
                (tuple(named[0].values()), tuple(named[1].values())),
                tuple(shares[name].share for name in named[0]),
                _pair(c.parameters if c else 0 for c in counts),
                _pair(c.multiply_adds if c else 0 for c in counts),
                _pair(t.get(part, 0.0) for t in times) if times else None,
            )
        )
    whole = Row(
        "all", ((), ()), (densities.of().share,), _pair(c.parameters for c in costs),
        _pair(c.multiply_adds for c in costs), _pair(t["all"] for t in times) if times else None,
    )  # fmt: skip
    return Compaction(before, after, width, height, (*rows, whole))


PARTS = {
    "features": "features", "kernel_hidden": "kernels", "flow": "flow", "refine": "motion",
    "grid": "fusion", "texture": "texture", "texture_out": "texture",
}  # fmt: skip
"""The part of the network that each field of widths belongs to."""

Number = TypeVar("Number", int, float)


def _pair(numbers: Iterable[Number]) -> tuple[Number, Number]:
    before, after = numbers
    return before, after


def _listed(widths: tuple[int, ...]) -> str:
    return " ".join(map(str, widths)) or "-"
