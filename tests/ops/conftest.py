from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

EXTRACT = Path(__file__).parents[1] / "expected" / "ops.npz"


@pytest.fixture
def expected(golden_file):
    """Numbers of the official code for one op, from tests/expected or else ../shared/golden."""

    def load(op: str) -> dict[str, Tensor]:
        with np.load(EXTRACT) as extract:
            tensors = {k.split("/")[1]: extract[k] for k in extract.files if k.startswith(f"{op}/")}
        if not tensors:
            with np.load(golden_file(f"op_{op}.npz")) as file:
                tensors = dict(file)
        return {name: torch.from_numpy(np.asarray(value)) for name, value in tensors.items()}

    return load


@pytest.fixture
def gradients():
    """Run ``op`` on leaves made of tensors of one dtype, send ``grad_out`` back: (output, gradients)."""

    def run(op, inputs: list[Tensor], grad_out: Tensor, dtype=torch.float32):
        leaves = [t.detach().to(dtype).clone().requires_grad_() for t in inputs]
        out = op(*leaves)
        out.backward(grad_out.to(dtype))
        return out.detach(), [leaf.grad for leaf in leaves]

    return run
