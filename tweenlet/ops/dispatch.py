"""Triton: when an op runs as a kernel of its own on a CUDA device, instead of as PyTorch's operations.

    adacof, splat, correlation, search, ... --> wanted? --> triton_*        forward only, a CUDA device
                                                   |
                                                   +------> the plain op    all else

The kernels have the plain ops' signatures and pass their tests. Triton comes with PyTorch's CUDA builds; a
machine without it runs the plain ops and never imports the files of the kernels.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor


def wanted(*inputs: Tensor) -> bool:
    """Whether a kernel may take these: all on a CUDA device, no gradient asked for, Triton there.

    Not while a graph is traced: what is compiled or exported keeps to PyTorch's operations.
    """
    return (
        all(x.is_cuda for x in inputs)
        and not (torch.is_grad_enabled() and any(x.requires_grad for x in inputs))
        and not torch.compiler.is_compiling()
        and _installed()
    )


@cache
def _installed() -> bool:
    return find_spec("triton") is not None
