from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tweenlet import native

EXTRACT = Path(__file__).parents[1] / "expected" / "ops.npz"


@pytest.fixture
def expected(golden_file):
    """Numbers of the official code for one op, from tests/expected or else ../shared/golden."""

    def load(op: str) -> dict[str, Tensor]:
        with np.load(EXTRACT) as extract:
            found = {k.split("/")[1]: extract[k] for k in extract.files if k.startswith(f"{op}/")}
        if not found:
            with np.load(golden_file(f"op_{op}.npz")) as file:
                found = dict(file)
        return {name: torch.from_numpy(np.asarray(value)) for name, value in found.items()}

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


@pytest.fixture(params=["cpu", "cuda"])
def device(request) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return request.param


@pytest.fixture(params=["native", "PyTorch"])
def compiled(request, monkeypatch) -> bool:
    """Whether native code does what it can, or PyTorch all of it."""
    if request.param == "PyTorch":
        monkeypatch.setattr(native, "library", lambda: None)
    elif native.library() is None:
        pytest.skip("no C compiler")
    return request.param == "native"
