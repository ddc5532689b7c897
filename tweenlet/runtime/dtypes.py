"""Dtypes: the floating-point types that networks run in, and their names."""

from __future__ import annotations

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Types by the name on the command line."""


def dtype_of(name: str) -> torch.dtype:
    """Look up a type by name. Raises ValueError, listing the names, for an unknown one."""
    if name not in DTYPES:
        raise ValueError(f"expected a dtype of {', '.join(DTYPES)}, got {name!r}")
    return DTYPES[name]


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a type without the prefix, such as "bfloat16"."""
    return str(dtype).removeprefix("torch.")
