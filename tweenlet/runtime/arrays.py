"""Arrays: one code path for numpy arrays and PyTorch tensors, without importing PyTorch.

Both libraries share many function names, so code for both is written once:

    xp = array_namespace(picture)
    xp.concatenate([xp.clip(picture[:3], 0, 1), picture[3:]])
"""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = Any
"""A numpy array, or a tensor on any device."""


def is_tensor(value: object) -> bool:
    """Whether a value is a PyTorch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def array_namespace(values: Array) -> Any:
    """The module whose functions take this array: numpy or torch."""
    return sys.modules["torch"] if is_tensor(values) else np


def to_numpy(values: Array) -> NDArray[Any]:
    """Convert to a numpy array; tensors are copied from their device if need be."""
    array: NDArray[Any] = values.cpu().numpy() if is_tensor(values) else values
    return array
