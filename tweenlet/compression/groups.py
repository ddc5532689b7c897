"""Groups: whole channels, blocks, levels and branches shrink to zero while the dense network keeps training.

    network --search--> rounds: groups to remove --shrink--> network with zeros --inherit--> smaller network

The search (:mod:`tweenlet.compression.search`) chooses groups by their effect on the loss. Over the first
part of the stage their weights shrink to zero, by the same fraction of their initial norm each step, while
everything trains: the proximal step of a group lasso whose penalty makes the group vanish on time. The rest
of the stage has no penalty (debiasing). HESSO and DHSPG, the successors of OBProx-SG, work alike (Chen et
al., arXiv 2409.09085 and 2312.09411).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor
from torch.optim import Optimizer

from tweenlet.compression.search import Round, cut
from tweenlet.network.config import ModelConfig
from tweenlet.network.stmfnet import STMFNet
from tweenlet.runtime.atomic import write_bytes_atomically
from tweenlet.training.options import TrainOptions
from tweenlet.training.state import build_optimiser

SHRINK_FRACTION = 0.6
"""Fraction of the steps over which the groups shrink to zero; the rest is debiasing."""
UNNAMED = 2
"""Smallest label; :func:`inherit` writes smaller numbers where the source has an identity."""

Masks = Mapping[str, Tensor]
"""Parameter -> bool tensor of its shape, true for the entries to keep."""


def masks_of(network: STMFNet, rounds: Iterable[Round]) -> dict[str, Tensor]:
    """Masks of the parameter entries that survive the rounds of a search.

    Found by cutting copies of the network whose entries are labels of their position.
    """
    rounds = list(rounds)
    names = [name for name, _ in network.named_parameters()]

    def cut_twin(fill: Callable[[int, Tensor], Tensor]) -> dict[str, Tensor]:
        twin = STMFNet(network.config)
        with torch.no_grad():
            for number, parameter in enumerate(twin.parameters()):
                parameter.copy_(fill(number, parameter))
        return dict(cut(twin, rounds).named_parameters())

    gains = cut_twin(lambda _, parameter: torch.ones_like(parameter))
    owners = cut_twin(lambda number, parameter: torch.full_like(parameter, number + UNNAMED))
    places = cut_twin(lambda _, p: (torch.arange(p.numel()) + UNNAMED).view(p.shape).float())
    masks = {name: torch.zeros(p.shape, dtype=torch.bool) for name, p in network.named_parameters()}
    for name, gain in gains.items():
        copied = gain != 0
        owner, place = ((found[name] / gain)[copied].round().long() - UNNAMED for found in (owners, places))
        for number in sorted(set(owner[owner >= 0].tolist())):
            masks[names[number]].view(-1)[place[owner == number]] = True
    return masks


def save_masks(path: Path, masks: Masks, config: ModelConfig) -> None:
    """Write masks and the config of the remaining network (.safetensors); OSError if that fails."""
    label = {"config": json.dumps(config.to_json())}
    content = to_safetensors({name: mask.contiguous() for name, mask in masks.items()}, label)
    write_bytes_atomically(path, content)


def load_masks(path: Path) -> tuple[dict[str, Tensor], ModelConfig]:
    """The inverse of :func:`save_masks`; ValueError for a file that is damaged."""
    try:
        with safe_open(path, "pt") as file:
            config = ModelConfig.from_json(json.loads(file.metadata()["config"]))
            return {name: file.get_tensor(name) for name in file.keys()}, config  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: remove it, and it will be rebuilt ({error})") from error


def shrinking_optimiser(network: STMFNet, masks: Masks, options: TrainOptions) -> Optimizer:
    """The optimiser in the options, which also shrinks masked-out entries to zero within SHRINK_FRACTION of
    the steps.
    """
    optimiser = build_optimiser(network, options)
    steps = max(1, round(SHRINK_FRACTION * options.steps))
    removed = [(p, ~masks[name]) for name, p in network.named_parameters() if not masks[name].all()]

    @torch.no_grad()
    def shrink(optimiser: Optimizer, *_: Any) -> None:
        taken = max(int(values["step"]) for values in optimiser.state.values())
        factor = max(0.0, (steps - taken) / (steps - taken + 1)) if taken <= steps else 0.0
        for parameter, mask in removed:
            parameter.mul_(torch.where(mask.to(parameter.device), factor, 1.0))

    optimiser.register_step_post_hook(shrink)
    return optimiser
