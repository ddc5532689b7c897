"""TrainOptions: how a network is trained, as a value, with the learning rate of every step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TrainOptions:
    """How a network is trained. Resuming to the bit asks for the same options, `minutes` apart."""

    steps: int = 100_000
    minutes: float | None = None
    """Stop, saved, after so many minutes, counted over all sessions; the schedule stays by steps."""
    optimiser: str = "adamw"
    """"adamw", or "adamax", which the papers train with."""
    rate: float = 4e-4
    warmup: int = 200
    """Steps over which the rate rises from nothing."""
    hold: float = 0.5
    """Share of the steps at the full rate, before it falls to nothing as half a cosine."""
    weight_decay: float = 1e-4
    clip: float = 1.0
    """Largest norm of the gradient."""
    average: float = 0.999
    """Decay of the exponential moving average of the weights, which is what is validated and exported."""
    loss: Mapping[str, float] = field(default_factory=lambda: {"laplacian": 1.0})
    """Weights of the losses, by name."""
    margin: int = 0
    """Pixels along the borders of a crop that count little: what moves in from beyond cannot be known."""
    border: float = 0.1
    """With a margin, the weight of the loss of the whole crop beside that of its inside."""
    precision: str = "float32"
    """"float32", or "bfloat16" for autocast."""
    device: str = "cpu"
    log_every: int = 50
    validate_every: int = 1000
    save_every: int = 500
    explosion: float = 20.0
    """A loss this many times its running mean stops the training."""

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = min(1.0, (step + 1) / max(1, self.warmup))
        held = self.hold * self.steps
        falling = min(1.0, max(0.0, (step - held) / max(1.0, self.steps - held)))
        return self.rate * rising * (0.5 + 0.5 * math.cos(math.pi * falling))

    def __post_init__(self) -> None:
        if self.optimiser not in ("adamw", "adamax"):
            raise ValueError(f'expected the optimiser "adamw" or "adamax", got "{self.optimiser}"')
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f'expected precision "float32" or "bfloat16", got "{self.precision}"')
        if self.margin < 0:
            raise ValueError(f"expected a margin of 0 pixels or more, got {self.margin}")
        if self.steps < 1:
            raise ValueError(f"expected at least one step, got {self.steps}")
