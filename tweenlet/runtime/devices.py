"""Devices: pick the torch device to run on, and check that it works."""

from __future__ import annotations

import torch


def resolve_device(requested: str | torch.device | None) -> torch.device:
    """Resolve a device by name; by default a CUDA device if there is one, else the CPU.

    Args:
        requested: "cpu", "cuda", "cuda:1", a torch.device, or None for the default.

    Returns:
        The device, with its index if it has one.

    Raises:
        ValueError: the device is unknown, or no tensor can be allocated on it.

    """
    device = ("cuda" if torch.cuda.is_available() else "cpu") if requested is None else requested
    try:
        probe = torch.zeros(1, device=device)
        probe.cpu()
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"the device {device} cannot be used: {reason}") from None
    return probe.device
