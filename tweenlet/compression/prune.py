"""Prune: a trained network to a budget, by one of several methods.

    taylor       the search: least loss per cost saved; starts from the dense network
    uniform      every width by one factor; starts from the dense network
    magnitude    widths by the share of weights among the largest; starts from the dense network
    obproxsg     widths by the densities after OBProx-SG, as published; starts from the sparse network
    group        the choice of the search, but driven to zero while the dense network keeps training
                 (:mod:`tweenlet.compression.groups`)

With every method, branches, scales and levels are removed by measurement: how far frames move from those of
the dense network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch

from tweenlet.compression.budget import Budget
from tweenlet.compression.densities import Densities, Density, counted_layers, densities
from tweenlet.compression.inherit import inherit
from tweenlet.compression.pieces import pieces
from tweenlet.compression.saliency import TRIALS, distance, own_pictures, saliency
from tweenlet.compression.search import Round, cut, search
from tweenlet.compression.widths import Spending, compact
from tweenlet.network.stmfnet import STMFNet
from tweenlet.training.data.batches import Batch
from tweenlet.training.losses import Objective
from tweenlet.training.options import PruneMethod


def prune(
    network: STMFNet,
    method: PruneMethod,
    budget: Budget | None,
    batches: Sequence[Batch],
    objective: Objective,
    *,
    density: float = 0.1,
    sparse: STMFNet | None = None,
    notify: Callable[[str], None] | None = None,
) -> STMFNet:
    """Prune a network to a budget; float32, CPU, eval mode.

    Args:
        network: a trained, dense network.
        method: criterion for what to remove.
        budget: largest cost; None only with "obproxsg", where densities give the widths.
        batches: samples to measure losses and gradients on.
        objective: the loss to measure.
        density: with "magnitude", the fraction of weights that counts as nonzero.
        sparse: with "obproxsg", the network after OBProx-SG.
        notify: called with a line of text for each reduction.

    Raises:
        ValueError: a budget that cannot be met or is met already, or none where one is needed.

    """
    if budget is None and method != "obproxsg":
        raise ValueError(f"pruning by {method} needs a budget: expected parameters, multiply-adds or ms")
    if budget is not None:
        return budget.of(network.config).meet(
            lambda aim: _prune(network, method, aim, batches, objective, density, sparse, notify),
            lambda pruned: pruned.config, notify,
        )  # fmt: skip
    return _prune(network, method, budget, batches, objective, density, sparse, notify)


def _prune(
    network: STMFNet,
    method: PruneMethod,
    budget: Budget | None,
    batches: Sequence[Batch],
    objective: Objective,
    density: float,
    sparse: STMFNet | None,
    notify: Callable[[str], None] | None,
) -> STMFNet:
    """One attempt of :func:`prune`."""
    if method == "taylor" and budget is not None:
        return cut(network, _search(network, budget, batches, objective, notify))
    trials = own_pictures(network, batches[:TRIALS])
    losses = None if budget is None else leave_out(network, trials)
    if method == "obproxsg":
        if sparse is None:
            raise ValueError("pruning by obproxsg needs the network that was sparsified")
        network, shares = sparse, densities(sparse)
    else:
        shares = uniform(network) if method == "uniform" else among_largest(network, density)
    return inherit(network, compact(network.config, shares, budget, notify, losses))


def search_rounds(
    network: STMFNet,
    budget: Budget,
    batches: Sequence[Batch],
    objective: Objective,
    notify: Callable[[str], None] | None = None,
) -> list[Round]:
    """Reductions of "taylor" and "group", round by round; arguments and errors are those of :func:`prune`."""
    return budget.of(network.config).meet(
        lambda aim: _search(network, aim, batches, objective, notify),
        lambda rounds: rounds[-1].config, notify,
    )  # fmt: skip


def _search(
    network: STMFNet,
    budget: Budget,
    batches: Sequence[Batch],
    objective: Objective,
    notify: Callable[[str], None] | None,
) -> list[Round]:
    trials = own_pictures(network, batches[:TRIALS])
    measure = partial(saliency, batches=batches, objective=objective, trials=trials)
    return search(network, Spending(budget), measure, notify)


def leave_out(network: STMFNet, trials: Sequence[Batch]) -> dict[str, float]:
    """How far frames move from the trials' without each branch, scale or level, by name."""
    usual = distance(network.eval(), trials)
    return {
        name: distance(inherit(network, config), trials) - usual
        for name, config in pieces(network.config).items()
    }


def uniform(network: STMFNet) -> Densities:
    """Densities of a fully dense network."""
    weights = {name: layer.weight.numel() for name, layer in counted_layers(network)}
    return Densities({name: Density(count, count) for name, count in weights.items()})


@torch.no_grad()
def among_largest(network: STMFNet, density: float) -> Densities:
    """Densities if only the largest weights of the network, a fraction ``density``, were kept.

    Weights are relative to the root mean square of their layer. ValueError for a density outside (0, 1].
    """
    if not 0 < density <= 1:
        raise ValueError(f"expected a density in (0, 1], got {density}")
    sizes = {
        name: layer.weight.abs() / layer.weight.square().mean().sqrt().clamp_min(1e-12)
        for name, layer in counted_layers(network)
    }
    everything = torch.cat([size.flatten() for size in sizes.values()])
    smallest = everything.kthvalue(max(1, round((1 - density) * len(everything)))).values
    return Densities(
        {name: Density(max(1, int((size > smallest).sum())), size.numel()) for name, size in sizes.items()}
    )
