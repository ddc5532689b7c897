"""Devices: where networks run, asked for by name or not at all."""

from __future__ import annotations

import torch


def device_of(asked: str | torch.device | None) -> torch.device:
    """The device that is asked for; if none is, a CUDA device if there is one, else the CPU.

    ValueError for one that is unknown, or on which no tensor can be made.
    """
    device = ("cuda" if torch.cuda.is_available() else "cpu") if asked is None else asked
    try:
        tried = torch.zeros(1, device=device)
        tried.cpu()
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"the device {device} cannot be used: {reason}") from None
    return tried.device
