"""Plan file: everything that a compression depends on, so that only the same compression resumes its folder.

    before_pruning, after_pruning --check_identity: what differs?--> plan.json

Settings that only matter after pruning may change until the pruned network has been written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tweenlet.compression.budget import Budget
from tweenlet.network.config import ModelConfig
from tweenlet.runtime.atomic import write_bytes_atomically
from tweenlet.runtime.json_file import read_json
from tweenlet.training.data.dataset import CropDataset, Dataset
from tweenlet.training.identity import check_identity, identity_of_options
from tweenlet.training.options import DataOptions, Plan, rename_options

TRAINED = ("obproxsg", "group")
"""Methods that include a training stage."""

Settings = Mapping[str, Any]
"""Plain JSON types by name."""


def before_pruning(
    plan: Plan, data: DataOptions, teacher: str, samples: Dataset, validation: CropDataset
) -> Settings:
    """Everything that pruning depends on, of a teacher by its digest."""
    settings: dict[str, Any] = {
        "teacher": teacher, "data": samples.fingerprint, "validation": validation.fingerprint,
    }  # fmt: skip
    settings |= {name: getattr(data, name) for name in ("batch", "crop", "seed", "augment")}
    if plan.prune in TRAINED:
        settings |= {"sparsify.steps": plan.sparsify.steps}
        settings |= _dotted("sparsify", identity_of_options(plan.sparsify))
    if plan.prune in ("obproxsg", "magnitude"):
        settings |= {"density": plan.density}
    return settings


def after_pruning(plan: Plan, budget: Budget | None, teachers: Sequence[str] | None) -> Settings:
    """Everything else that the student depends on, of teachers by their identities."""
    names = ("prune", "init", "alpha", "filter_teacher", "flow_weight", "timed")
    return {
        "budget": str(budget) if budget else None,
        "latency_command": budget.command if budget else "",
        **{name: getattr(plan, name) for name in names},
        **_dotted("distill", identity_of_options(plan.distill)),
        "teachers": None if teachers is None else list(teachers),
    }


def write_plan(
    folder: Path, first: Settings, later: Settings, limit: Budget | None, pruned: bool, anyway: bool
) -> None:
    """Write ``folder/plan.json``, creating the folder.

    Args:
        folder: the folder of the compression.
        first: settings from :func:`before_pruning`.
        later: settings from :func:`after_pruning`.
        limit: the budget as an amount.
        pruned: whether the pruned network has been written, so that ``later`` must agree too.
        anyway: accept differences.

    Raises:
        ValueError: the plan in the folder differs, or is damaged.

    """
    path = folder / "plan.json"
    stored = rename_options(read_json(path)) if path.exists() else {}
    if not isinstance(stored, dict):
        raise ValueError(f"{path} is not the plan of a compression: name another folder")
    check_identity(folder, stored, {**first, **later} if pruned else first, anyway)
    folder.mkdir(parents=True, exist_ok=True)
    amount = {"limit": float(limit.limit)} if limit else {}
    write_bytes_atomically(path, json.dumps({**first, **later, **amount}, indent=1).encode())


def limit_of(budget: Budget, config: ModelConfig, folder: Path) -> Budget:
    """The budget as an amount.

    A percentage becomes the amount of the first run in the folder, since measured times vary.
    """
    path = folder / "plan.json"
    stored = read_json(path) if budget.relative and path.exists() else None
    if isinstance(stored, dict) and stored.get("budget") == str(budget):
        limit = stored.get("limit")
        if isinstance(limit, float) and 0 < limit < math.inf:
            budget = replace(budget, limit=limit, relative=False)
    return budget.of(config)


def _dotted(stage: str, options: Settings) -> dict[str, Any]:
    return {f"{stage}.{name}": value for name, value in options.items()}
