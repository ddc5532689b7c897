"""Identity: everything that defines a run, so that a folder is resumed by the same run only.

    options, start, data, teachers --identity_of--> {name: value} --check_identity--> the one that differs

Longer training, other logging and another device do not change the run. Data is identified by content, so it
may move.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from tweenlet.network.checkpoint import digest_of_tensors
from tweenlet.training.data.batches import BatchSampler
from tweenlet.training.data.dataset import Dataset
from tweenlet.training.options import TrainOptions

FREE = {
    "steps", "epochs", "minutes", "device", "divergence_factor", "patience", "tensorboard", "keep", "metrics",
    "log_every", "validate_every", "save_every",
}  # fmt: skip
"""Options that may change when a run is resumed."""
WORDS = {
    "stage": "the command", "start": "the network that it starts from", "data": "the training samples",
    "validation": "the held-out samples", "teachers": "the teachers", "teacher": "the teacher",
}  # fmt: skip
"""Names, in messages, of the fields that are not options."""


def identity_of_options(options: TrainOptions) -> dict[str, Any]:
    """The options that must stay the same, as plain JSON types."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return {name: value for name, value in values.items() if name not in FREE}


def identity_of(
    model: nn.Module,
    options: TrainOptions,
    batches: BatchSampler,
    validation: Dataset | None,
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """Identity of a training, as plain JSON types.

    Args:
        model: the network before its first step.
        options: options of the training.
        batches: batches of the training dataset.
        validation: the held-out samples, if any.
        extra: everything else that must stay the same: the stage, its own options, the teachers.

    """
    return {
        **json.loads(json.dumps(extra)),
        **identity_of_options(options),
        "start": digest_of_tensors(model),
        "data": batches.dataset.fingerprint,
        "validation": None if validation is None else validation.fingerprint,
        "batch": batches.batch_size, "crop": batches.crop, "seed": batches.seed,
        "augment": batches.augment,
    }  # fmt: skip


def check_identity(folder: Path, stored: Any, current: Mapping[str, Any], anyway: bool = False) -> None:
    """ValueError, with the first field that differs, if ``folder`` holds another run.

    Fields that only one of the two has (a state of another version) are ignored. ``anyway`` skips the check.
    """
    if anyway or not isinstance(stored, Mapping):
        return
    for name, value in current.items():
        if name in stored and stored[name] != value:
            raise ValueError(
                f"{folder} holds another run: {_difference(name, stored[name], value)}. Ask for it as "
                "it was, name another --out, or insist with --anyway"
            )


def _difference(name: str, old: Any, new: Any) -> str:
    if name == "stage":
        return f"it was made by tweenlet {old}, not by tweenlet {new}"
    if name in WORDS:
        return (
            f"{WORDS[name]} {'differ' if name.endswith('s') or name in ('data', 'validation') else 'differs'}"
        )
    return f"{name} was {json.dumps(old)}, now {json.dumps(new)}"
