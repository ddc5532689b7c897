"""Network: a network of the family as a Method."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.network.checkpoint import digest_of_tensors
from tweenlet.network.cost import parameters_of
from tweenlet.runtime.dtypes import dtype_name


class Network:
    """A network as a Method.

    Args:
        model: the network.
        device: device to run on; default: that of the network.
        pad_to: as for :class:`~tweenlet.interpolation.interpolator.Interpolator`.
        dtype: as for :class:`~tweenlet.interpolation.interpolator.Interpolator`.
        description: one line for reports.

    """

    def __init__(
        self,
        model: nn.Module,
        device: str | torch.device | None = None,
        *,
        pad_to: int | None = None,
        dtype: torch.dtype = torch.float32,
        description: str = "",
    ) -> None:
        self.interpolator = Interpolator(model, device=device, pad_to=pad_to, dtype=dtype)
        self.parameters = parameters_of(model)
        self.digest = digest_of_tensors(model)
        self.description = description
        if dtype != torch.float32:
            precision = dtype_name(dtype)
            self.description, self.digest = f"{description}, in {precision}", f"{self.digest}, {precision}"

    def __call__(self, frames: Tensor) -> Tensor:
        """Predict the middle frame, not clamped; nothing is reused from earlier calls."""
        return self.interpolator.middle(list(frames.to(self.interpolator.device)))
