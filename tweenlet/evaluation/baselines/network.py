"""Network: a network of ours as a Method."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.network.checkpoint import digest_of_tensors
from tweenlet.network.cost import parameters_of
from tweenlet.runtime.dtypes import dtype_name


class Network:
    """A network as a Method; how many ``parameters`` it has, and the ``digest`` (SHA-256) of its weights.

    ``pad_to`` and ``dtype`` as in :class:`~tweenlet.interpolation.interpolator.Interpolator`.
    """

    def __init__(
        self,
        model: nn.Module,
        device: str | torch.device | None = None,
        *,
        pad_to: int | None = None,
        dtype: torch.dtype = torch.float32,
        told: str = "",
    ) -> None:
        self.interpolator = Interpolator(model, device=device, pad_to=pad_to, dtype=dtype)
        self.parameters = parameters_of(model)
        self.digest = digest_of_tensors(model)
        self.told = told
        if dtype != torch.float32:
            precision = dtype_name(dtype)
            self.told, self.digest = f"{told}, in {precision}", f"{self.digest}, {precision}"

    def __call__(self, frames: Tensor) -> Tensor:
        """The frame in the middle, not clamped; nothing is known of the frames from an earlier call."""
        return self.interpolator.middle(list(frames.to(self.interpolator.device)))
