"""Budget: what a network may cost at most, in parameters, multiply-adds or milliseconds.

2M    50G@480p    500@480p    500@1920x1080
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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

    @classmethod
    def parse(cls, kind: str, text: str) -> Budget:
        """Read an amount, with k, M, G or T, and a size of the frame; ValueError for other text."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGT]?)(?:@(\w+))?", text)
        if kind not in UNITS or match is None or float(match[1]) <= 0:
            raise ValueError(f"expected {kind} such as 2M, 50G@480p or 500@1920x1080, got {text!r}")
        amount, suffix, size = match.groups()
        if size and kind == "params":
            raise ValueError(
                f"parameters do not depend on the size of the frame: expected {amount}{suffix}, got {text!r}"
            )
        return cls(kind, float(amount) * SUFFIXES[suffix], *size_of(size or "480p"))

    def spent(self, config: ModelConfig) -> float:
        """What a network costs, in this budget's unit; milliseconds are measured here and now."""
        if self.kind == "ms":
            hopeless = 1.5 * self.limit  # what is far beyond need not be measured well
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
        return f"at most {self.say(self.limit)}"
