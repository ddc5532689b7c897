"""Stage 1, sparsify: a trained network learns on while OBProx-SG takes its weights to zero, to a density.

    trained model, batches --train with OBProxSG--> the same network, mostly zeros --> densities

The densities then give the widths (:mod:`tweenlet.compression.widths`), and the channels that kept their
weights are what a compact network may start from (:mod:`tweenlet.compression.inherit`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from tweenlet.compression.densities import densities, penalised
from tweenlet.compression.obprox import OBProxSG
from tweenlet.training.data.batches import Batch, BatchSampler
from tweenlet.training.data.dataset import CropDataset
from tweenlet.training.loop import Result, StepInfo, train
from tweenlet.training.losses import Terms, build_objective
from tweenlet.training.options import TrainOptions

PROX = 0.5
"""Share of the steps that are proximal, before orthant steps keep the zeros."""
STEADY = 0.2
"""Share of the steps, at the end, in which the density is only held."""


def sparsify(
    model: nn.Module,
    batches: BatchSampler,
    validation: CropDataset | None,
    options: TrainOptions,
    folder: Path,
    density: float = 0.1,
    progress: Callable[[StepInfo], None] | None = None,
) -> Result:
    """Train ``model`` on until a ``density`` of its weights is left; goes on where ``folder`` left off.

    The result's model holds the zeros: weights are not averaged and do not decay. The log has the density of
    all and of every part as it moves. Everything else, also what is raised, is as in
    :func:`~tweenlet.training.loop.train`; ValueError for a density outside (0, 1].
    """
    prox, over = round(PROX * options.steps), max(1, round((1 - STEADY) * options.steps))
    optimiser = OBProxSG(penalised(model), options.learning_rate, prox_steps=prox, density=density, over=over)
    learn = build_objective(options)

    def telling(prediction: Tensor, batch: Batch) -> tuple[Tensor, Terms]:
        loss, terms = learn(prediction, batch)
        found = densities(model)
        shares = {"all": found.of(), **found.parts}
        return loss, terms | {f"density {name}": loss.new_tensor(d.share) for name, d in shares.items()}

    return train(
        model, batches, validation, replace(options, ema_decay=0.0), folder, progress,
        objective=telling, optimiser=optimiser,
    )  # fmt: skip
