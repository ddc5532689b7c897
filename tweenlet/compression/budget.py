"""Budget: the largest cost of a network, in parameters, multiply-adds or milliseconds.

2M    50G@480p    500@480p    500@1920x1080    50%    50%@1080p
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch

from tweenlet.compression.latency_table import LatencyTable
from tweenlet.network.config import ModelConfig
from tweenlet.network.cost import cost, parameters_of, size_of
from tweenlet.network.stmfnet import STMFNet

Attempt = TypeVar("Attempt")
TIE = 0.03
"""Fraction by which measured milliseconds may exceed the limit."""
ATTEMPTS = 4
"""Most attempts to meet a budget of milliseconds."""
UNITS = {"params": "parameters", "macs": "multiply-adds", "ms": "ms"}
SUFFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@dataclass(frozen=True)
class Budget:
    """The largest cost of a network.

    Examples:
        >>> budget = tweenlet.Budget.parse("params", "50%").of(tweenlet.MINI)
        >>> print(budget)
        at most 911,081 parameters

    """

    kind: str
    """"params", "macs" (per new frame) or "ms" (per new frame, on this machine)."""
    limit: float
    width: int = 854
    height: int = 480
    """Size of the frame, in pixels."""
    relative: bool = False
    """Whether the limit is a fraction of the network's cost, which :meth:`of` turns into an amount."""
    command: str = ""
    """Measures milliseconds elsewhere (:class:`~tweenlet.compression.latency_table.LatencyTable`)."""
    device: str = "cpu"
    """Device whose milliseconds count if there is no command: "cpu" or "cuda"."""
    table: LatencyTable | None = field(default=None, compare=False, repr=False)
    """Latency table of the network passed to :meth:`of`."""

    @classmethod
    def parse(cls, kind: str, text: str, command: str = "", device: str = "cpu") -> Budget:
        """Parse an amount, with k, M, G or T, or a percentage; and optionally a frame size.

        ValueError for other text, and for percentages outside (0, 100).
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGT%]?)(?:@(\w+))?", text)
        if kind not in UNITS or match is None or float(match[1]) <= 0:
            raise ValueError(f"expected {kind} such as 2M, 50%, 50G@480p or 500@1920x1080, got {text!r}")
        amount, suffix, size = match.groups()
        if size and kind == "params":
            raise ValueError(
                f"parameters do not depend on the size of the frame: expected {amount}{suffix}, got {text!r}"
            )
        width, height = size_of(size or "480p")
        if suffix != "%":
            limit = float(amount) * SUFFIXES[suffix]
            return cls(kind, limit, width, height, command=command, device=device)
        if float(amount) >= 100:
            raise ValueError(f"expected less than 100% of what the network costs, got {text!r}")
        share = float(amount) / 100
        return cls(kind, share, width, height, relative=True, command=command, device=device)

    def of(self, config: ModelConfig) -> Budget:
        """Return the budget for one network, with a percentage turned into an amount.

        ValueError if the network meets it already.
        """
        budget = self
        if self.kind == "ms" and self.table is None:
            table = LatencyTable(config, self.height, self.width, self.device, self.command)
            budget = replace(self, table=table)
        cost = budget.spent(config)
        if budget.relative:
            budget = replace(budget, limit=budget.limit * cost, relative=False)
        if cost <= budget.limit:
            raise ValueError(f"the budget is met already: the network costs {budget.say(cost)}, {budget}")
        return budget

    def spent(self, config: ModelConfig) -> float:
        """Cost of a network in this budget's unit; milliseconds are estimated by the latency table."""
        if self.kind == "ms":
            return self._times(config).estimate(config)
        if self.kind == "macs":
            return float(cost(config, self.height, self.width).multiply_adds)
        with torch.device("meta"):
            return float(parameters_of(STMFNet(config)))

    def outcome(self, config: ModelConfig) -> str:
        """Say whether a network meets this budget, milliseconds to within TIE, and what it costs."""
        if self.kind == "ms":
            timing = self._times(config).measure(config)
            is_met = timing.milliseconds <= (1 + TIE) * self.limit
            spent = f"{timing} at {self.width}x{self.height}"
        else:
            is_met, spent = self.spent(config) <= self.limit, self.say(self.spent(config))
        return f"met with {spent}" if is_met else f"NOT met: {spent}"

    def meet(
        self,
        attempt: Callable[[Budget], Attempt],
        config_of: Callable[[Attempt], ModelConfig],
        notify: Callable[[str], None] | None = None,
    ) -> Attempt:
        """Attempt to meet this budget; for milliseconds, measure the result and retry with a smaller limit.

        Results within TIE of the limit are accepted, as clocks are no better. ``notify`` is called with each
        measurement.
        """
        aim = self
        for last in (False,) * (ATTEMPTS - 1) + (True,):
            result = attempt(aim)
            if self.kind != "ms":
                break
            timing = self._times(config_of(result)).measure(config_of(result))
            if notify:
                notify(f"measured: {timing} at {self.width}x{self.height}")
            if last or timing.milliseconds <= (1 + TIE) * self.limit:
                break
            aim = replace(aim, limit=aim.limit * self.limit / timing.milliseconds)
        return result

    def _times(self, config: ModelConfig) -> LatencyTable:
        return self.table or LatencyTable(config, self.height, self.width, self.device, self.command)

    def say(self, amount: float) -> str:
        """An amount as text, such as "1,822,162 parameters" or "50.2 G multiply-adds at 854x480"."""
        if self.kind == "params":
            return f"{amount:,.0f} parameters"
        number = f"{amount / 1e9:.2f} G" if self.kind == "macs" else f"{amount:,.0f}"
        return f"{number} {UNITS[self.kind]} at {self.width}x{self.height}"

    def __str__(self) -> str:
        size = "" if self.kind == "params" else f" at {self.width}x{self.height}"
        share = f"{100 * self.limit:g} % of the {UNITS[self.kind]}{size}"
        return f"at most {share if self.relative else self.say(self.limit)}"
