"""Options of training and compression; the command line shows each attribute's docstring as its help.

TrainOptions   one training, including its learning-rate schedule
Recipe         how to build a dataset from footage
DataOptions    which samples to train on, and how to batch them
Plan           how to compress a network
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

RENAMED = {
    "hold": "plateau", "clip": "max_grad_norm", "average": "ema_decay", "settle": "freeze_bn_after",
    "border": "border_weight", "explosion": "divergence_factor", "confident": "filter_teacher",
}  # fmt: skip
"""Options in files of earlier versions: old name -> name."""


def rename_options(values: Any) -> Any:
    """Give options their current names, at any depth of a JSON value."""
    if not isinstance(values, dict):
        return values
    return {RENAMED.get(name, name): rename_options(value) for name, value in values.items()}


@dataclass(frozen=True)
class TrainOptions:
    """Options of a training.

    Examples:
        >>> tweenlet.TrainOptions(steps=100, warmup=0).rate_at(99) < 1e-6
        True

    """

    steps: int = 100_000
    """Total number of training steps."""
    epochs: float | None = None
    """Passes over the samples to train for, instead of steps."""
    minutes: float | None = None
    """Save and stop after this many minutes, counted over all sessions; the schedule still goes by steps."""
    optimiser: Literal["adamw", "adamax"] = "adamw"
    """The optimiser; the papers use adamax."""
    learning_rate: float = 4e-4
    """Peak learning rate of the schedule."""
    warmup: int = 200
    """Steps over which the learning rate rises from 0 to its peak."""
    schedule: Literal["cosine", "step"] = "cosine"
    """cosine: the rate stays at its peak for the plateau, then decays as half a cosine. step: it is halved
    every decay_epochs."""
    plateau: float = 0.5
    """Fraction of training during which the rate stays at its peak, before it decays to 0."""
    decay_epochs: float = 20.0
    """With the schedule step, passes over the samples between halvings of the rate."""
    weight_decay: float = 1e-4
    """Decoupled weight decay, as in AdamW."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm; inf = never."""
    accumulate: int = 1
    """Gradient accumulation: parts to run each batch in, to save memory."""
    ema_decay: float = 0.999
    """Decay per step of the exponential moving average of the weights, which is validated and exported."""
    freeze_bn_after: float = 0.7
    """Fraction of training after which batch-norm statistics are frozen, so that the network trains with the
    statistics it is used with; those of small batches are noisy (docs/log/compression.md). 1 = never."""
    loss: dict[str, float] = field(default_factory=lambda: {"laplacian": 1.0})
    """Weights of the losses, as --loss.psnr 1 --loss.laplacian 1: laplacian, charbonnier, psnr, perceptual
    (feature distance; needs the extra `evaluate`), detail (detail kept)."""
    margin: int = 0
    """Border of a crop that counts less, in pixels: motion from outside cannot be predicted."""
    border_weight: float = 0.1
    """With a margin, the weight of the whole crop's loss; the loss inside the margin has weight 1."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """bfloat16 and float16 use autocast; weights stay in float32. float16, for GPUs without bfloat16, scales
    gradients."""
    device: str | None = None
    """cpu, cuda, ...; default: CUDA if available, else the CPU."""
    log_every: int = 50
    """Steps between log entries."""
    validate_every: int = 1000
    """Steps between validations."""
    save_every: int = 500
    """Steps between saved states, from which a run resumes."""
    metrics: tuple[str, ...] = ()
    """Metrics to validate besides PSNR: ssim, features, detail, flip, lpips, ..."""
    patience: int | None = None
    """Stop early after this many validations without a better PSNR."""
    keep: int = 0
    """Number of last saves to keep as step-N.safetensors; the best weights are in best.safetensors."""
    tensorboard: bool = False
    """Write scalars and pictures for TensorBoard to OUT/tensorboard (extra `tensorboard`)."""
    divergence_factor: float = 20.0
    """Stop when the loss exceeds this many times its running mean."""

    def over(self, samples: int, batch: int) -> TrainOptions:
        """Convert epochs to steps, for ``samples`` samples in batches of size ``batch``."""
        if self.epochs is None:
            return self
        return replace(self, steps=max(1, math.ceil(self.epochs * samples / batch)))

    def rate_at(self, step: int, epoch_steps: float = math.inf) -> float:
        """Return the learning rate of a step, counted from 0, with ``epoch_steps`` steps per epoch."""
        rising = min(1.0, (step + 1) / max(1, self.warmup))
        if self.schedule == "step":
            return self.learning_rate * rising * 0.5 ** int(step / (self.decay_epochs * epoch_steps))
        start = self.plateau * self.steps
        falling = min(1.0, max(0.0, (step - start) / max(1.0, self.steps - start)))
        return self.learning_rate * rising * (0.5 + 0.5 * math.cos(math.pi * falling))

    def __post_init__(self) -> None:
        if self.optimiser not in ("adamw", "adamax"):
            raise ValueError(f'expected the optimiser "adamw" or "adamax", got "{self.optimiser}"')
        if self.precision not in ("float32", "bfloat16", "float16"):
            raise ValueError(f'expected precision "float32", "bfloat16" or "float16", got "{self.precision}"')
        if self.schedule not in ("cosine", "step"):
            raise ValueError(f'expected the schedule "cosine" or "step", got "{self.schedule}"')
        if not self.decay_epochs > 0 or (self.epochs is not None and not self.epochs > 0):
            raise ValueError(
                f"expected more than 0 epochs, got epochs {self.epochs} and decay_epochs {self.decay_epochs}"
            )
        if self.accumulate < 1 or self.keep < 0 or (self.patience is not None and self.patience < 1):
            raise ValueError(
                "expected accumulate of 1 or more, keep of 0 or more and patience of 1 or more, got "
                f"{self.accumulate}, {self.keep} and {self.patience}"
            )
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
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"expected ema_decay from 0 to below 1, got {self.ema_decay:g}")
        if self.warmup < 0:
            raise ValueError(f"expected a warmup of 0 steps or more, got {self.warmup}")
        for name in ("max_grad_norm", "divergence_factor", "minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"expected {name} above 0, got {value:g}")
        names = ("learning_rate", "plateau", "weight_decay", "border_weight")
        numbers = {name: getattr(self, name) for name in names}
        for name, value in (numbers | {f"loss.{name}": weight for name, weight in self.loss.items()}).items():
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"expected {name} of 0 or more, got {value:g}")


@dataclass(frozen=True)
class SparsifyOptions(TrainOptions):
    """Options of a training in which OBProx-SG replaces the optimiser and drives weights to zero.

    Examples:
        >>> tweenlet.SparsifyOptions(steps=10).learning_rate
        0.5

    """

    steps: int = 2_000
    """Total number of training steps."""
    learning_rate: float = 0.5
    """Peak learning rate of the schedule; large, as OBProx-SG has no momentum and losses are means."""
    freeze_bn_after: float = 0.0
    """Fraction of training after which batch-norm statistics are frozen; 0, as the network is trained."""


@dataclass(frozen=True)
class DistillOptions(TrainOptions):
    """Options of a distillation.

    Examples:
        >>> tweenlet.DistillOptions(epochs=2).over(samples=100, batch=8).steps
        25

    """

    steps: int = 20_000
    """Total number of training steps."""


@dataclass(frozen=True)
class Recipe:
    """How to build a dataset.

    Examples:
        >>> tweenlet.Recipe(crop=128).still_size
        192

    """

    samples: int = 4500
    """Training samples, 0.6 MB each on disk at the default crop."""
    validation: int = 128
    """Validation samples, from held-out footage."""
    crop: int = 192
    """Height and width of the stored samples, in pixels."""
    short_side: int = 540
    """Short side to scale larger frames down to, in pixels; one window in ten is not scaled."""
    crops_per_window: int = 3
    """Samples per window of frames."""
    synthetic: float = 0.15
    """Fraction of the training samples that are synthetic scenes made from stills."""
    seed: int = 0
    """Seed of the choice of windows and crops."""
    strides: tuple[int, ...] = (1, 2)
    """Strides of the windows, in frames: 1 = seven consecutive frames, 2 = every second of thirteen."""

    def __post_init__(self) -> None:
        if min(self.samples, self.crop, self.crops_per_window) < 1 or not 0 <= self.synthetic <= 1:
            raise ValueError(
                "expected samples, crop and crops per window of 1 or more and a synthetic share of 0 to 1, "
                f"got {self.samples}, {self.crop}, {self.crops_per_window} and {self.synthetic}"
            )
        if not self.strides or min(self.strides) < 1:
            raise ValueError(f"expected strides of 1 or more, got {self.strides}")

    @property
    def still_size(self) -> int:
        """Height and width of the crops of stills for synthetic scenes, in pixels."""
        return self.crop * 3 // 2


Augment = Literal["all", "flips", "none"]


@dataclass(frozen=True)
class DataOptions:
    """Which samples to train on, and how to batch them.

    Examples:
        >>> tweenlet.DataOptions(batch=4, crop=64).seed
        0

    """

    batch: int = 8
    """Samples per step."""
    crop: int = 128
    """Height and width of the random crops to train on, in pixels."""
    seed: int = 0
    """Seed of the initial weights, the order of the samples and their augmentation."""
    augment: Augment = "all"
    """all: flips, transposition, time reversal and permuted channels. flips: flips and time reversal."""
    source: Literal["store", "published"] = "store"
    """store: crops of the hardest windows, decoded once. published: every septuplet of Vimeo-90K and
    quintuplet of BVI-DVC once an epoch, with a new crop each time."""
    store: Path | None = None
    """Folder of the decoded samples; default: OUT/store."""
    validate: list[Path] | None = None
    """Footage to validate on; default: some clips of DATA are held out."""
    recipe: Recipe = field(default_factory=Recipe)


PAPER_DATA = {"source": "published", "crop": 256, "augment": "flips"}
"""Data of ST-MFNet Mini's training, as far as its code says."""
PAPER_TRAINING = {
    "optimiser": "adamax", "learning_rate": 1e-3, "warmup": 0, "schedule": "step", "weight_decay": 0.0,
    "max_grad_norm": math.inf, "ema_decay": 0.0, "freeze_bn_after": 1.0,
}  # fmt: skip
"""Training of ST-MFNet Mini: Adamax, rate halved every 20 epochs, no weight decay, clipping or EMA."""
Options = TypeVar("Options", TrainOptions, DataOptions)


def follow_paper(options: Options) -> Options:
    """Replace options that have their defaults by the paper's values; explicit ones stay.

    The rate of :class:`SparsifyOptions` stays too: the published one cannot work (docs/paper.md).
    """
    preset: dict[str, Any] = PAPER_TRAINING if isinstance(options, TrainOptions) else PAPER_DATA
    defaults = {field.name: field.default for field in fields(options)}
    kept_rate = ("learning_rate",) if isinstance(options, SparsifyOptions) else ()
    values = {
        name: value
        for name, value in preset.items()
        if getattr(options, name) == defaults[name] and name not in kept_rate
    }
    return replace(options, **values)


Init = Literal["inherit", "scratch"]
PruneMethod = Literal["taylor", "group", "uniform", "magnitude", "obproxsg"]


@dataclass(frozen=True)
class Plan:
    """How to compress a network.

    Examples:
        >>> tweenlet.Plan(prune="uniform", distill=tweenlet.DistillOptions(steps=500)).alpha
        0.1

    """

    prune: PruneMethod = "taylor"
    """Pruning criterion. taylor: least loss per cost saved. group: the same choice, but driven to zero in a
    training stage. uniform: every width by the same factor. magnitude: by the share of the largest weights.
    obproxsg: as published, by the densities after a sparsifying stage."""
    passes: int = 16
    """Batches on which losses and gradients are measured for pruning."""
    density: float = 0.1
    """Fraction of weights that obproxsg leaves nonzero, and that magnitude counts as nonzero."""
    init: Init = "inherit"
    """Start from the channels with the largest weights, or from scratch."""
    alpha: float = 0.1
    """Weight of the loss against the truth; the teachers' loss has weight 1."""
    filter_teacher: bool = False
    """Use the truth wherever blending is nearer to it than the teacher is."""
    flow_weight: float = 0.02
    """Weight of the distance to the teacher's flows and mask, for intermediate-flow networks."""
    timed: bool = True
    """Convert an intermediate-flow teacher of two frames to four, so that its timing follows the truth."""
    sparsify: SparsifyOptions = field(default_factory=SparsifyOptions)
    """Stage 1."""
    distill: DistillOptions = field(default_factory=DistillOptions)
    """Stage 2."""

    def __post_init__(self) -> None:
        if self.passes < 1 or self.flow_weight < 0:
            raise ValueError(
                "expected passes of 1 or more and a weight of flows of 0 or more, got "
                f"{self.passes} and {self.flow_weight}"
            )
        if not 0 < self.density <= 1:
            raise ValueError(f"expected a density in (0, 1], got {self.density}")
        if not (math.isfinite(self.alpha) and self.alpha >= 0):
            raise ValueError(f"expected an alpha of 0 or more, got {self.alpha}")
        if self.sparsify.minutes is not None or self.distill.minutes is not None:
            raise ValueError(
                "a compression is limited by steps: minutes apply to its stages as commands only"
            )
