"""Budget: what a network may cost at most, in parameters, multiply-adds or milliseconds.

2M    50G@480p    500@480p    500@1920x1080    50%    50%@1080p
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import torch

from tweenlet.inference.latency import latency
from tweenlet.network.config import ModelConfig
from tweenlet.network.cost import cost, parameters_of, size_of
from tweenlet.network.stmfnet import STMFNet

UNITS = {"params": "parameters", "macs": "multiply-adds", "ms": "ms"}
SUFFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@dataclass(frozen=True)
class Budget:
    """The most that a network may cost."""

    kind: str
    """"params", "macs" for one new frame, or "ms" for one new frame on this machine."""
    limit: float
    width: int = 854
    height: int = 480
    """The size of the frame, in pixels."""
    relative: bool = False
    """The limit is a share of what a network costs now: :meth:`of` makes it an amount."""

    @classmethod
    def parse(cls, kind: str, text: str) -> Budget:
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
            return cls(kind, float(amount) * SUFFIXES[suffix], width, height)
        if float(amount) >= 100:
            raise ValueError(f"expected less than 100% of what the network costs, got {text!r}")
        return cls(kind, float(amount) / 100, width, height, relative=True)

    def of(self, config: ModelConfig) -> Budget:
        """Return the budget for one network: a percentage becomes an amount.

        ValueError where the network costs no more already.
        """
        cost = self.spent(config)
        budget = replace(self, limit=self.limit * cost, relative=False) if self.relative else self
        if cost <= budget.limit:
            raise ValueError(f"nothing to make smaller: the network costs {budget.say(cost)}, {budget}")
        return budget

    def spent(self, config: ModelConfig) -> float:
        """What a network costs, in this budget's unit; milliseconds are measured here and now."""
        if self.kind == "ms":
            hopeless = math.inf if self.relative else 1.5 * self.limit  # far beyond, it need not be exact
            return latency(STMFNet(config), self.height, self.width, enough=hopeless)["all"]
        if self.kind == "macs":
            return float(cost(config, self.height, self.width).multiply_adds)
        with torch.device("meta"):
            return float(parameters_of(STMFNet(config)))

    def say(self, amount: float) -> str:
        """An amount in words, as in "1,822,162 parameters" or "50.2 G multiply-adds at 854x480"."""
        if self.kind == "params":
            return f"{amount:,.0f} parameters"
        number = f"{amount / 1e9:.2f} G" if self.kind == "macs" else f"{amount:,.0f}"
        return f"{number} {UNITS[self.kind]} at {self.width}x{self.height}"

    def __str__(self) -> str:
        share = f"{100 * self.limit:g} % of the {UNITS[self.kind]}"
        return f"at most {share if self.relative else self.say(self.limit)}"
