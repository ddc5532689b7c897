"""OBProxSG: an optimiser that takes weights to exactly zero (Chen et al., "Orthant Based Proximal Stochastic
Gradient Method", ECML-PKDD 2020, arXiv 2004.03639).

It minimises f(x) + lambda |x|_1 by alternating two kinds of steps, with g the gradient of f:

    proximal   x <- soft(x - lr g, lr lambda)                     small weights reach zero, and may leave it
    orthant    y = x - lr (g + lambda sign x);  x <- y, or 0      nothing leaves zero or crosses it
               where y sign x <= eps

There is no momentum, as published. Added here: groups that are not penalised, a scale of lambda for each
group, and a target density, so that one chooses the fraction of weights that is left rather than lambda.
Lambda is then set at every step to the least value that brings the density down to its schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

RENAMED = {"target": "density", "over": "density_steps", "taken": "steps_taken"}
"""Settings of parameter groups in states of earlier versions: old name -> name."""


class OBProxSG(Optimizer):
    """Proximal steps, then orthant steps, and so on in turn; ``state_dict()`` holds all that it depends on.

    All settings but ``params`` can differ by parameter group.

    Args:
        params: parameters, or dicts of parameter groups.
        lr: learning rate, 0 or more.
        lambda_: weight of the L1 norm, 0 or more; a group with 0 takes plain gradient steps.
        eps: magnitude below which an orthant step makes a weight zero.
        prox_steps: length of a proximal phase, in steps (the paper's Np times the batches of an epoch).
        orthant_steps: length of an orthant phase, in steps; ``math.inf``, as published, to stay in it.
        scale: factor of lambda.
        density: fraction of penalised weights to leave nonzero, in (0, 1]. Lambda is then chosen at every
            step, so that the density follows :func:`scheduled_density`.
        density_steps: steps in which that density is reached.

    Raises:
        ValueError: a setting out of its range.

    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-1,
        lambda_: float = 1e-4,
        eps: float = 1e-4,
        prox_steps: int = 1,
        orthant_steps: float = math.inf,
        scale: float = 1.0,
        density: float | None = None,
        density_steps: int = 1000,
    ) -> None:
        if lr < 0 or lambda_ < 0 or eps < 0:
            raise ValueError(f"expected lr, lambda and eps of 0 or more, got {lr}, {lambda_} and {eps}")
        if prox_steps < 0 or orthant_steps < 0 or prox_steps + orthant_steps < 1:
            raise ValueError(
                "expected prox and orthant steps of 0 or more, at least one together, "
                f"got {prox_steps} and {orthant_steps}"
            )
        if density is not None and (not 0 < density <= 1 or density_steps < 1):
            raise ValueError(
                "expected a density in (0, 1] over one step or more, "
                f"got {density} over {density_steps} steps"
            )
        settings = {
            "lr": lr, "lambda_": lambda_, "eps": eps,
            "prox_steps": prox_steps, "orthant_steps": orthant_steps, "scale": scale,
            "density": density, "density_steps": density_steps, "steps_taken": 0,
        }  # fmt: skip
        super().__init__(params, settings)
        for group in self.param_groups:
            if not group["lambda_"]:
                group["density"] = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """Take a step of the current phase; returns the closure's loss, if there is a closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._choose_lambda()
        for group in self.param_groups:
            update = (
                _gradient_step
                if not _is_penalised(group)
                else _proximal_step
                if _in_prox_phase(group)
                else _orthant_step
            )
            for x in group["params"]:
                if x.grad is not None:
                    update(x, x.grad, group)
            group["steps_taken"] += 1
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a state; ValueError where it had another target density or other density steps."""
        groups = [{RENAMED.get(k, k): v for k, v in group.items()} for group in state_dict["param_groups"]]
        for current, saved in zip(self.param_groups, groups, strict=True):
            names = ("density", "density_steps")
            if current["density"] is not None and any(current[name] != saved[name] for name in names):
                raise ValueError(
                    f"expected a density of {saved['density']} over {saved['density_steps']} "
                    f"steps, got {current['density']} over {current['density_steps']}"
                )
        super().load_state_dict({**state_dict, "param_groups": groups})

    def density(self) -> float:
        """The fraction of penalised weights that are not zero; 1 where none is penalised."""
        penalised = [x for group in self.param_groups if _is_penalised(group) for x in group["params"]]
        total = sum(x.numel() for x in penalised)
        return sum(int(x.count_nonzero()) for x in penalised) / total if total else 1.0

    def _choose_lambda(self) -> None:
        """Set the least lambda at which no more weights than scheduled are left after this step."""
        steered = [group for group in self.param_groups if group["density"] is not None and group["lr"] > 0]
        if not steered:
            return
        first = steered[0]
        needed = torch.cat(
            [_lambda_to_zero(x, group) for group in steered for x in group["params"] if x.grad is not None]
        )
        scheduled = scheduled_density(first["steps_taken"] + 1, first["density"], first["density_steps"])
        left = round(scheduled * needed.numel())
        least = 0.0
        if left < needed.numel():
            least = max(0.0, float(needed.kthvalue(needed.numel() - left).values))
        for group in steered:
            group["lambda_"] = least


def scheduled_density(step: int, density: float, density_steps: int) -> float:
    """The density to have after a step, counted from 1: from 1 down to ``density``, steeply at first.

    Zhu and Gupta, "To prune, or not to prune", 2017, eq. 1.
    """
    return density + (1 - density) * (1 - min(1.0, step / density_steps)) ** 3


def _is_penalised(group: dict[str, Any]) -> bool:
    return bool(group["lambda_"]) or group["density"] is not None


def _lambda_to_zero(x: Tensor, group: dict[str, Any]) -> Tensor:
    """The least lambda with which this step makes each weight zero, (N,)."""
    lr, gradient = group["lr"], x.grad
    assert gradient is not None
    if _in_prox_phase(group):
        needed: Tensor = (x / lr - gradient).abs()
    else:
        needed = torch.where(x == 0, 0, (x.abs() - group["eps"]) / lr - gradient * x.sign())
    unscaled: Tensor = needed.flatten() / group["scale"]
    return unscaled


def _lambda(group: dict[str, Any]) -> float:
    return float(group["lambda_"] * group["scale"])


def _in_prox_phase(group: dict[str, Any]) -> bool:
    step, prox, orthant = group["steps_taken"], group["prox_steps"], group["orthant_steps"]
    return bool((step if math.isinf(orthant) else step % (prox + orthant)) < prox)


def _gradient_step(x: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
    x.sub_(gradient, alpha=group["lr"])


def _proximal_step(x: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
    moved = x - group["lr"] * gradient
    x.copy_(moved.sign() * (moved.abs() - group["lr"] * _lambda(group)).clamp_min(0))


def _orthant_step(x: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
    side = x.sign()
    moved = x - group["lr"] * (gradient + _lambda(group) * side)
    x.copy_(torch.where(moved * side > group["eps"], moved, 0))
