"""OBProxSG: stochastic gradients that make weights exactly zero (Chen et al., "Orthant Based Proximal
Stochastic Gradient Method", ECML-PKDD 2020, arXiv 2004.03639).

Minimises f(x) + lambda |x|_1 by two kinds of steps in turn, g being the gradient of f:

    proximal   x <- soft(x - lr g, lr lambda)                     small weights reach zero, and may leave it
    orthant    y = x - lr (g + lambda sign x);  x <- y, or 0      nothing leaves zero or crosses it
               where y sign x <= eps

There is no momentum, as published. What makes it work here is added: groups that are not penalised, a scale
of lambda for each group, and a target for the density, so that a person says what share of the weights should
be left. Lambda is then chosen anew at every step as the least that brings the density to what is planned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class OBProxSG(Optimizer):
    """Proximal steps, then orthant steps, and so on in turn.

    ``lambda_`` is the weight of the L1 norm, and ``eps`` the size under which an orthant step makes zero.
    ``prox_steps`` and ``orthant_steps`` are the lengths of the phases in steps (the papers' Np and No, times
    the batches of an epoch); the published runs take orthant steps for ever after, ``math.inf``. All of these
    can differ by parameter group. A group's ``scale`` multiplies its lambda. A group with a ``lambda_`` of 0
    is not penalised: plain gradient steps.

    With a ``density`` in (0, 1], lambda is chosen at each step: the share of penalised weights that are not
    zero follows a curve from 1 down to it, steep at first, over ``over`` steps (Zhu and Gupta, "To prune, or
    not to prune", 2017, eq. 1). Everything that the next step depends on is in ``state_dict()``. ValueError
    for settings without meaning.
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
        over: int = 1000,
    ) -> None:
        if lr < 0 or lambda_ < 0 or eps < 0:
            raise ValueError(f"expected lr, lambda and eps of 0 or more, got {lr}, {lambda_} and {eps}")
        if prox_steps < 0 or orthant_steps < 0 or prox_steps + orthant_steps < 1:
            raise ValueError(
                "expected prox and orthant steps of 0 or more, at least one together, "
                f"got {prox_steps} and {orthant_steps}"
            )
        if density is not None and (not 0 < density <= 1 or over < 1):
            raise ValueError(
                f"expected a density in (0, 1] over one step or more, got {density} over {over} steps"
            )
        settings = {
            "lr": lr, "lambda_": lambda_, "eps": eps,
            "prox_steps": prox_steps, "orthant_steps": orthant_steps, "scale": scale,
            "target": density, "over": over, "taken": 0,
        }  # fmt: skip
        super().__init__(params, settings)
        for group in self.param_groups:
            if not group["lambda_"]:
                group["target"] = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """Take a step of the phase that is on; returns the loss of the closure, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._choose_lambda()
        for group in self.param_groups:
            take = _gradient if not _penalised(group) else _proximal if _in_prox_phase(group) else _orthant
            for x in group["params"]:
                if x.grad is not None:
                    take(x, x.grad, group)
            group["taken"] += 1
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state; ValueError where that was on the way to another density or over other steps."""
        for own, held in zip(self.param_groups, state_dict["param_groups"], strict=True):
            if own["target"] is not None and any(own[name] != held[name] for name in ("target", "over")):
                raise ValueError(
                    f"expected to go on to a density of {held['target']} over {held['over']} steps, "
                    f"got {own['target']} over {own['over']}"
                )
        super().load_state_dict(state_dict)

    def density(self) -> float:
        """The share of the penalised weights that are not zero; 1 where none is penalised."""
        penalised = [x for group in self.param_groups if _penalised(group) for x in group["params"]]
        total = sum(x.numel() for x in penalised)
        return sum(int(x.count_nonzero()) for x in penalised) / total if total else 1.0

    def _choose_lambda(self) -> None:
        """Set the least lambda at which no more weights than planned are left after this step."""
        steered = [group for group in self.param_groups if group["target"] is not None and group["lr"] > 0]
        if not steered:
            return
        first = steered[0]
        needed = torch.cat(
            [_lambda_to_zero(x, group) for group in steered for x in group["params"] if x.grad is not None]
        )
        left = round(planned(first["taken"] + 1, first["target"], first["over"]) * needed.numel())
        least = 0.0
        if left < needed.numel():
            least = max(0.0, float(needed.kthvalue(needed.numel() - left).values))
        for group in steered:
            group["lambda_"] = least


def planned(step: int, target: float, over: int) -> float:
    """The density that a steered run means to have after so many steps."""
    return target + (1 - target) * (1 - min(1.0, step / over)) ** 3


def _penalised(group: dict[str, Any]) -> bool:
    return bool(group["lambda_"]) or group["target"] is not None


def _lambda_to_zero(x: Tensor, group: dict[str, Any]) -> Tensor:
    """The lambda from which on this step would make each weight zero, (N,)."""
    lr, gradient = group["lr"], x.grad
    assert gradient is not None
    if _in_prox_phase(group):
        needed: Tensor = (x / lr - gradient).abs()
    else:
        needed = torch.where(x == 0, 0, (x.abs() - group["eps"]) / lr - gradient * x.sign())
    scaled: Tensor = needed.flatten() / group["scale"]
    return scaled


def _lambda(group: dict[str, Any]) -> float:
    return float(group["lambda_"] * group["scale"])


def _in_prox_phase(group: dict[str, Any]) -> bool:
    taken, prox, orthant = group["taken"], group["prox_steps"], group["orthant_steps"]
    return bool((taken if math.isinf(orthant) else taken % (prox + orthant)) < prox)


def _gradient(x: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
    x.sub_(gradient, alpha=group["lr"])


def _proximal(x: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
    moved = x - group["lr"] * gradient
    x.copy_(moved.sign() * (moved.abs() - group["lr"] * _lambda(group)).clamp_min(0))


def _orthant(x: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
    side = x.sign()
    moved = x - group["lr"] * (gradient + _lambda(group) * side)
    x.copy_(torch.where(moved * side > group["eps"], moved, 0))
