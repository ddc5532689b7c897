"""Options of training and compression; the command line shows each attribute's docstring as its help.

TrainOptions   one training, with the learning rate of every step
Recipe         how samples are made from footage
DataOptions    which samples to train on, and how they come in batches
Plan           how a network is compressed
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
    """Give options their present names, in mappings at any depth of a JSON value."""
    if not isinstance(values, dict):
        return values
    return {RENAMED.get(name, name): rename_options(value) for name, value in values.items()}


@dataclass(frozen=True)
class TrainOptions:
    """How a network is trained.

    Examples:
        >>> tweenlet.TrainOptions(steps=100, warmup=0).rate_at(99) < 1e-6
        True

    """

    steps: int = 100_000
    """Steps to train in all."""
    epochs: float | None = None
    """Train for so many passes over the samples, in place of steps."""
    minutes: float | None = None
    """Save and stop after this many minutes, counted over all sessions; the schedule still goes by steps."""
    optimiser: Literal["adamw", "adamax"] = "adamw"
    """The optimiser; the papers use adamax."""
    learning_rate: float = 4e-4
    """Peak learning rate of the schedule."""
    warmup: int = 200
    """Steps over which the learning rate rises from 0 to its peak."""
    schedule: Literal["cosine", "step"] = "cosine"
    """cosine: the rate stays at its peak for the plateau, then falls as half a cosine. step: it is halved
    every decay_epochs."""
    plateau: float = 0.5
    """Fraction of training up to which the rate stays at its peak, before a half cosine takes it to 0."""
    decay_epochs: float = 20.0
    """With the schedule step, passes over the samples after which the rate is halved, again and again."""
    weight_decay: float = 1e-4
    """Decoupled weight decay, as in AdamW."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm; inf = never."""
    accumulate: int = 1
    """Parts in which a batch is run, one after the other, where memory does not hold it whole."""
    ema_decay: float = 0.999
    """Decay per step of the exponential moving average of the weights, which is validated and exported."""
    freeze_bn_after: float = 0.7
    """Fraction of training after which batch-norm statistics are frozen, so that a network trains with the
    statistics it is used with; those of small batches vary much (docs/log/compression.md). 1 = never."""
    loss: dict[str, float] = field(default_factory=lambda: {"laplacian": 1.0})
    """Weights of the terms, as --loss.psnr 1 --loss.laplacian 1: laplacian, charbonnier, psnr, and
    perceptual (distance of features; needs the extra `evaluate`), detail (how much of it is kept)."""
    margin: int = 0
    """Border of a crop, in pixels, that counts less: what moves in from outside cannot be predicted."""
    border_weight: float = 0.1
    """With a margin, the weight of the whole crop's loss; the loss inside the margin has weight 1."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """bfloat16 and float16 mean autocast; weights stay in float32. float16 scales its gradients, and is for
    GPUs without bfloat16."""
    device: str | None = None
    """cpu, cuda, ...; by default CUDA if there is any, else the CPU."""
    log_every: int = 50
    """Steps between lines of the log."""
    validate_every: int = 1000
    """Steps between validations."""
    save_every: int = 500
    """Steps between saved states, from which a killed run resumes."""
    metrics: tuple[str, ...] = ()
    """What validation measures beside PSNR: ssim, features, detail, flip, lpips, ..."""
    patience: int | None = None
    """Stop early after so many validations without a better PSNR."""
    keep: int = 0
    """Weights of so many last saves to keep as step-N.safetensors; the best are in best.safetensors."""
    tensorboard: bool = False
    """Write scalars and pictures for TensorBoard to OUT/tensorboard (extra `tensorboard`)."""
    divergence_factor: float = 20.0
    """Stop when the loss exceeds this many times its running mean."""

    def over(self, samples: int, batch: int) -> TrainOptions:
        """The options with the steps that their epochs are, of so many samples in batches of a size."""
        if self.epochs is None:
            return self
        return replace(self, steps=max(1, math.ceil(self.epochs * samples / batch)))

    def rate_at(self, step: int, epoch_steps: float = math.inf) -> float:
        """Return the learning rate of a step, counted from 0, where an epoch has so many steps."""
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


@dataclass(frozen=True)
class SparsifyOptions(TrainOptions):
    """How a network is trained while OBProx-SG, in place of the optimiser, takes its weights to zero.

    Examples:
        >>> tweenlet.SparsifyOptions(steps=10).learning_rate
        0.5

    """

    steps: int = 2_000
    """Steps to train in all."""
    learning_rate: float = 0.5
    """Peak learning rate of the schedule; large, as OBProx-SG has no momentum and losses are means."""
    freeze_bn_after: float = 0.0
    """Fraction of training after which batch-norm statistics are frozen; 0, as the network is trained."""


@dataclass(frozen=True)
class DistillOptions(TrainOptions):
    """How a student is trained.

    Examples:
        >>> tweenlet.DistillOptions(epochs=2).over(samples=100, batch=8).steps
        25

    """

    steps: int = 20_000
    """Steps to train in all."""


@dataclass(frozen=True)
class Recipe:
    """How a dataset is built.

    Examples:
        >>> tweenlet.Recipe(crop=128).still_size
        192

    """

    samples: int = 4500
    """Training samples, 0.6 MB each on disk at the default crop."""
    validation: int = 128
    """Validation samples, from footage that is held out."""
    crop: int = 192
    """Height and width of the stored samples, in pixels."""
    short_side: int = 540
    """Short side, in pixels, to which larger frames are scaled down; one window in ten is not scaled."""
    crops_per_window: int = 3
    """Samples cut from one window of frames."""
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
        """Height and width, in pixels, of the pieces of stills that synthetic scenes are made from."""
        return self.crop * 3 // 2


Augment = Literal["all", "flips", "none"]


@dataclass(frozen=True)
class DataOptions:
    """Which samples to train on, and how they come in batches.

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
    """all: flips, transposition, reversal in time and permuted channels. flips: flips and reversal."""
    source: Literal["store", "published"] = "store"
    """store: crops of the windows that have most to teach, decoded once. published: every septuplet of
    Vimeo-90K and quintuplet of BVI-DVC once an epoch, read whole and cropped anew each time."""
    store: Path | None = None
    """Folder of the decoded samples; OUT/store by default."""
    validate: list[Path] | None = None
    """Footage to validate on; by default some clips of DATA are held out."""
    recipe: Recipe = field(default_factory=Recipe)


PAPER_DATA = {"source": "published", "crop": 256, "augment": "flips"}
"""How ST-MFNet Mini was trained, as far as its code says: the samples."""
PAPER_TRAINING = {
    "optimiser": "adamax", "learning_rate": 1e-3, "warmup": 0, "schedule": "step", "weight_decay": 0.0,
    "max_grad_norm": math.inf, "ema_decay": 0.0, "freeze_bn_after": 1.0,
}  # fmt: skip
"""The same: Adamax, its rate halved every 20 epochs, no decay, no clipping, no averaging of weights."""
Options = TypeVar("Options", TrainOptions, DataOptions)


def follow_paper(options: Options) -> Options:
    """The options with the paper's values for all that have their defaults; what was asked for stays.

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
    """How a network is compressed.

    Examples:
        >>> tweenlet.Plan(prune="uniform", distill=tweenlet.DistillOptions(steps=500)).alpha
        0.1

    """

    prune: PruneMethod = "taylor"
    """What goes. taylor: what costs the least loss for what it saves. group: the same, but driven to zero in
    a stage of training. uniform: of every width alike. magnitude: by the share of the largest weights.
    obproxsg: as published, by what a stage that sparsifies leaves."""
    passes: int = 16
    """Batches that losses and gradients are measured on, to prune."""
    density: float = 0.1
    """Fraction of the weights that obproxsg leaves nonzero, and that magnitude counts as left."""
    init: Init = "inherit"
    """Start from the channels that weigh most, or from scratch."""
    alpha: float = 0.1
    """Weight of the loss against the truth; the teachers' loss has weight 1."""
    filter_teacher: bool = False
    """Use a teacher only where it is nearer to the truth than blending; the truth elsewhere."""
    flow_weight: float = 0.02
    """Weight of the distance to the teacher's flows and mask, for intermediate-flow networks."""
    timed: bool = True
    """Time an intermediate-flow teacher of two frames by four: so it agrees with the truth on when."""
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
        if self.alpha < 0:
            raise ValueError(f"expected an alpha of 0 or more, got {self.alpha}")
        if self.sparsify.minutes is not None or self.distill.minutes is not None:
            raise ValueError("a compression goes by steps: minutes are for its stages, run one by one")
