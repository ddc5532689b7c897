"""Budget: what a network may cost at most, in parameters, multiply-adds or milliseconds.

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
"""Share by which measured milliseconds may be over the limit."""
ATTEMPTS = 4
"""How often a network is made to meet a budget of milliseconds, at most."""
UNITS = {"params": "parameters", "macs": "multiply-adds", "ms": "ms"}
SUFFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@dataclass(frozen=True)
class Budget:
    """The most that a network may cost.

    Examples:
        >>> budget = tweenlet.Budget.parse("params", "50%").of(tweenlet.MINI)
        >>> print(budget)
        at most 911,081 parameters

    """

    kind: str
    """"params", "macs" for one new frame, or "ms" for one new frame on this machine."""
    limit: float
    width: int = 854
    height: int = 480
    """The size of the frame, in pixels."""
    relative: bool = False
    """The limit is a share of what a network costs now: :meth:`of` makes it an amount."""
    command: str = ""
    """Measures milliseconds on another device (:class:`~tweenlet.compression.latency_table.LatencyTable`)."""
    device: str = "cpu"
    """Whose milliseconds count where there is no command: "cpu", "cuda"."""
    table: LatencyTable | None = field(default=None, compare=False, repr=False)
    """Times of the network that :meth:`of` was asked for."""

    @classmethod
    def parse(cls, kind: str, text: str, command: str = "", device: str = "cpu") -> Budget:
        """Read an amount, with k, M, G or T, or a percentage; and a size of the frame.

        ValueError for other text, and for 0 % or less and 100 % or more.
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
        """Return the budget for one network: a percentage becomes an amount.

        ValueError where the network costs no more already.
        """
        budget = self
        if self.kind == "ms" and self.table is None:
            table = LatencyTable(config, self.height, self.width, self.device, self.command)
            budget = replace(self, table=table)
        cost = budget.spent(config)
        if budget.relative:
            budget = replace(budget, limit=budget.limit * cost, relative=False)
        if cost <= budget.limit:
            raise ValueError(f"nothing to make smaller: the network costs {budget.say(cost)}, {budget}")
        return budget

    def spent(self, config: ModelConfig) -> float:
        """What a network costs, in this budget's unit; milliseconds by the table of times."""
        if self.kind == "ms":
            return self._times(config).estimate(config)
        if self.kind == "macs":
            return float(cost(config, self.height, self.width).multiply_adds)
        with torch.device("meta"):
            return float(parameters_of(STMFNet(config)))

    def measure(self, config: ModelConfig) -> str:
        """What a network costs, in words; milliseconds are measured, with their spread."""
        if self.kind != "ms":
            return self.say(self.spent(config))
        return f"{self._times(config).measure(config)} at {self.width}x{self.height}"

    def meet(
        self,
        attempt: Callable[[Budget], Attempt],
        config_of: Callable[[Attempt], ModelConfig],
        notify: Callable[[str], None] | None = None,
    ) -> Attempt:
        """What an attempt makes to meet this budget; for milliseconds it is measured, and made again smaller.

        What is within TIE of the limit is kept: clocks know no better. ``notify`` hears what was measured.
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
        """An amount in words, as in "1,822,162 parameters" or "50.2 G multiply-adds at 854x480"."""
        if self.kind == "params":
            return f"{amount:,.0f} parameters"
        number = f"{amount / 1e9:.2f} G" if self.kind == "macs" else f"{amount:,.0f}"
        return f"{number} {UNITS[self.kind]} at {self.width}x{self.height}"

    def __str__(self) -> str:
        size = "" if self.kind == "params" else f" at {self.width}x{self.height}"
        share = f"{100 * self.limit:g} % of the {UNITS[self.kind]}{size}"
        return f"at most {share if self.relative else self.say(self.limit)}"
