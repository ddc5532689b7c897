"""Arrays: of numpy, or tensors of PyTorch, which is not imported here and need not be installed.

Both call many functions by the same names, so that what is done to both is written once:

    xp = array_namespace(picture)
    xp.concatenate([xp.clip(picture[:3], 0, 1), picture[3:]])
"""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = Any
"""An array of numpy, or a tensor on any device."""


def is_tensor(value: object) -> bool:
    """Whether a value is a tensor of PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def array_namespace(values: Array) -> Any:
    """The module, numpy or torch, whose functions take an array."""
    return sys.modules["torch"] if is_tensor(values) else np


def to_numpy(values: Array) -> NDArray[Any]:
    """An array of numpy: of a tensor, copied from its device if need be."""
    array: NDArray[Any] = values.cpu().numpy() if is_tensor(values) else values
    return array
