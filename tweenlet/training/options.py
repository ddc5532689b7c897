"""How networks are trained and compressed, as values; the command line shows them as they are written here.

TrainOptions   one training, with the learning rate of every step
Recipe         how samples are made from footage
Course         which samples are learnt from, and how they come in batches
Plan           how a network is compressed
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class TrainOptions:
    """How a network is trained. Resuming to the bit asks for the same options, `minutes` apart."""

    steps: int = 100_000
    """Steps to train in all."""
    minutes: float | None = None
    """Stop, saved, after so many minutes, counted over all sessions; the schedule stays by steps."""
    optimiser: Literal["adamw", "adamax"] = "adamw"
    """The papers train with adamax."""
    learning_rate: float = 4e-4
    """The highest of the schedule."""
    warmup: int = 200
    """Steps over which the rate rises from nothing."""
    plateau: float = 0.5
    """Share of the steps at the full rate, before it falls to nothing as half a cosine."""
    weight_decay: float = 1e-4
    """How much every weight shrinks a step, by the learning rate."""
    max_grad_norm: float = 1.0
    """Largest norm of the gradient."""
    ema_decay: float = 0.999
    """Decay of the exponential moving average of the weights, which is what is validated and exported."""
    freeze_bn_after: float = 0.7
    """Share of the steps after which batch norms keep their statistics, so that a network learns with those
    that it is used with: those of small batches differ much (docs/log/compression.md). 1 = never."""
    loss: dict[str, float] = field(default_factory=lambda: {"laplacian": 1.0})
    """Weights of its terms, as --loss.psnr 1 --loss.laplacian 1: laplacian, charbonnier, psnr, and
    perceptual (distance of features, wants the extra `evaluate`)."""
    margin: int = 0
    """Pixels along the borders of a crop that count little: what moves in from beyond cannot be known."""
    border_weight: float = 0.1
    """With a margin, the weight of the loss of the whole crop beside that of its inside."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is by autocast."""
    device: str | None = None
    """cpu, cuda, ...; CUDA if there is any, else the CPU."""
    log_every: int = 50
    """Steps between lines of the log."""
    validate_every: int = 1000
    """Steps between validations."""
    save_every: int = 500
    """Steps after which a killed run goes on from."""
    divergence_factor: float = 20.0
    """A loss this many times its running mean stops the training."""

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = min(1.0, (step + 1) / max(1, self.warmup))
        held = self.plateau * self.steps
        falling = min(1.0, max(0.0, (step - held) / max(1.0, self.steps - held)))
        return self.learning_rate * rising * (0.5 + 0.5 * math.cos(math.pi * falling))

    def __post_init__(self) -> None:
        if self.optimiser not in ("adamw", "adamax"):
            raise ValueError(f'expected the optimiser "adamw" or "adamax", got "{self.optimiser}"')
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f'expected precision "float32" or "bfloat16", got "{self.precision}"')
        if not 0 <= self.freeze_bn_after <= 1:
            raise ValueError(
                f"expected freeze_bn_after as a share of 0 to 1 of the steps, got {self.freeze_bn_after}"
            )
        if self.margin < 0:
            raise ValueError(f"expected a margin of 0 pixels or more, got {self.margin}")
        if min(self.log_every, self.validate_every, self.save_every) < 1:
            raise ValueError("expected to log, validate and save every step or more, not every 0")
        if self.steps < 1:
            raise ValueError(f"expected at least one step, got {self.steps}")


@dataclass(frozen=True)
class SparsifyOptions(TrainOptions):
    """How a network is trained while OBProx-SG takes its weights to zero: it has an optimiser of its own."""

    steps: int = 2_000
    """Steps to train in all."""
    learning_rate: float = 0.5
    """The highest of the schedule; OBProx-SG has no momentum, and the losses are means."""
    freeze_bn_after: float = 0.0
    """Share of the steps after which batch norms keep their statistics: at once, for it is trained."""


@dataclass(frozen=True)
class DistillOptions(TrainOptions):
    """How a student is trained."""

    steps: int = 20_000
    """Steps to train in all."""


@dataclass(frozen=True)
class Recipe:
    """How a store is made."""

    samples: int = 4500
    """Samples to train on, of 1.1 MB each on disk, at the crop below and with flows."""
    validation: int = 128
    """Samples of footage that is held out."""
    crop: int = 192
    """Height and width of the samples, pixels."""
    short_side: int = 540
    """Larger frames are scaled down to this short side; one window in ten stays as large as it is."""
    crops_per_window: int = 3
    """Samples cut from one window of frames."""
    synthetic: float = 0.15
    """Share of the training samples that are scenes made from stills."""
    flows: bool = True
    """Keep optical flow with the samples, for networks that use it."""
    seed: int = 0
    """Of which windows and crops are taken."""
    strides: tuple[int, ...] = (1, 2)
    """Of the windows, in frames: 1 for seven consecutive frames, 2 for every second of thirteen."""

    def __post_init__(self) -> None:
        if min(self.samples, self.crop, self.crops_per_window) < 1 or not 0 <= self.synthetic <= 1:
            raise ValueError(
                "expected samples, crop and crops per window of 1 or more and a synthetic share of 0 to 1, "
                f"got {self.samples}, {self.crop}, {self.crops_per_window} and {self.synthetic}"
            )
        if not self.strides or min(self.strides) < 1:
            raise ValueError(f"expected strides of 1 or more, got {self.strides}")

    @property
    def still(self) -> int:
        """Height and width (pixels) of the pieces of stills that scenes are made from."""
        return self.crop * 3 // 2


@dataclass(frozen=True)
class DataOptions:
    """Which samples are learnt from, and how they come in batches."""

    batch: int = 8
    """Samples in a step."""
    crop: int = 128
    """Height and width of the samples as they are learnt from, pixels."""
    seed: int = 0
    """Of the first weights, the order of the samples and their augmentation."""
    store: Path | None = None
    """Where samples decoded once are kept; OUT/store if not given."""
    validate: list[Path] | None = None
    """Footage to validate on; without it some clips of DATA are held out."""
    recipe: Recipe = field(default_factory=Recipe)


Init = Literal["inherit", "scratch"]


@dataclass(frozen=True)
class Plan:
    """How a network is compressed."""

    density: float = 0.1
    """Share of the weights that sparsifying leaves."""
    init: Init = "inherit"
    """Start from the channels that weigh most, or from scratch."""
    alpha: float = 0.1
    """Weight of the truth beside the teachers."""
    filter_teacher: bool = False
    """Believe a teacher only where it beats blending."""
    sparsify: SparsifyOptions = field(default_factory=SparsifyOptions)
    """Stage 1."""
    distill: DistillOptions = field(default_factory=DistillOptions)
    """Stage 2."""

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise ValueError(f"expected a density in (0, 1], got {self.density}")
        if self.alpha < 0:
            raise ValueError(f"expected an alpha of 0 or more, got {self.alpha}")
        if self.sparsify.minutes is not None or self.distill.minutes is not None:
            raise ValueError("a compression goes by steps: minutes are for its stages, run one by one")
