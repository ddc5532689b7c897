"""Stage 1, sparsify: training continues while OBProx-SG drives weights to zero.

    trained model, batches --train with OBProxSG--> the same network, mostly zeros --> densities

The densities then determine widths (:mod:`tweenlet.compression.widths`), and a compact network may start from
the channels with the largest weights (:mod:`tweenlet.compression.inherit`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from tweenlet.compression.densities import densities, parameter_groups
from tweenlet.compression.obprox import OBProxSG
from tweenlet.training.data.batches import Batch, BatchSampler
from tweenlet.training.data.dataset import CropDataset
from tweenlet.training.loop import Result, StepInfo, train
from tweenlet.training.losses import Terms, build_objective
from tweenlet.training.options import TrainOptions

PROX_FRACTION = 0.5
"""Fraction of proximal steps; orthant steps follow, which preserve zeros."""
STEADY_FRACTION = 0.2
"""Fraction of the steps, at the end, with constant density."""


def sparsify(
    model: nn.Module,
    batches: BatchSampler,
    validation: CropDataset | None,
    options: TrainOptions,
    folder: Path,
    density: float = 0.1,
    progress: Callable[[StepInfo], None] | None = None,
    anyway: bool = False,
) -> Result:
    """Continue training a model until a fraction ``density`` of its weights is left; resumes from ``folder``.

    The resulting model contains the zeros: there is no EMA and no weight decay. The log has the density of
    the network and of each part. ``density`` is in (0, 1], else ValueError. Other arguments, the result and
    errors are those of :func:`~tweenlet.training.loop.train`.
    """
    prox_steps = round(PROX_FRACTION * options.steps)
    density_steps = max(1, round((1 - STEADY_FRACTION) * options.steps))
    optimiser = OBProxSG(
        parameter_groups(model), options.learning_rate,
        prox_steps=prox_steps, density=density, density_steps=density_steps,
    )  # fmt: skip
    supervised = build_objective(options)

    def objective(prediction: Tensor, batch: Batch) -> tuple[Tensor, Terms]:
        loss, terms = supervised(prediction, batch)
        measured = densities(model)
        shares = {"all": measured.of(), **measured.parts}
        return loss, terms | {f"density {name}": loss.new_tensor(d.share) for name, d in shares.items()}

    return train(
        model, batches, validation, replace(options, ema_decay=0.0), folder, progress,
        objective=objective, optimiser=optimiser, identity={"stage": "sparsify", "density": density},
        anyway=anyway,
    )  # fmt: skip
