"""TensorBoard: scalars and pictures of a training, if enabled (extra ``tensorboard``)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from tweenlet.training import distributed
from tweenlet.training.data.batches import predict, sequential
from tweenlet.training.data.dataset import CropDataset
from tweenlet.training.state import TrainingState

PICTURES = 4
"""Held-out samples to show."""


class Board(AbstractContextManager["Board"]):
    """Writes to ``tensorboard/`` in the folder of a training; does nothing unless ``enabled``.

    OSError without the package tensorboard.
    """

    def __init__(self, state: TrainingState, enabled: bool) -> None:
        self._state = state
        self._writer: Any = None
        if enabled and not distributed.rank():
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise OSError(
                    "--tensorboard needs the package tensorboard: pip install 'tweenlet[tensorboard]'"
                ) from None
            folder = str(state.folder / "tensorboard")
            self._writer = SummaryWriter(folder, purge_step=state.step + 1)

    def add_scalars(self, values: Mapping[str, float | None]) -> None:
        """Add numbers by name at the current step."""
        if self._writer is not None:
            for name, value in values.items():
                if value is not None:
                    self._writer.add_scalar(name, value, self._state.step)

    @torch.no_grad()
    def add_pictures(self, model: nn.Module, dataset: CropDataset) -> None:
        """Add a model's predictions for the first held-out samples, next to the truth."""
        if self._writer is None:
            return
        batch = next(sequential(dataset, PICTURES)).to(self._state.device)
        pairs = torch.cat((predict(model, batch).float().clamp(0, 1), batch.truth), dim=3)
        for number, picture in enumerate(pairs.cpu()):
            self._writer.add_image(f"output and truth/{number}", picture, self._state.step)

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
