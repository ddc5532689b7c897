"""Functions: they are found and called, and what does not fit is told."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from tweenlet.evaluation.baselines.function import function

FUNCTIONS = """
import numpy as np
import torch
from neighbour_of_a_peer import half

def as_array(frames):
    frames *= half  # its own to change
    return (frames[1] + frames[2]).numpy()[:, ::-1][:, ::-1]

def as_tensor(frames):
    assert not torch.is_grad_enabled()
    return frames[1:3].double().mean(0)

def in_bytes(frames):
    return (frames[1] * 255).byte().numpy()

def with_batch(frames):
    return frames[1:2]

class Nets:
    net = torch.nn.Linear(2, 3)

    def nothing(frames):
        pass
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "neighbour_of_a_peer.py").write_text("half = 0.5")
    (tmp_path / "functions_of_a_peer.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("source", ["functions_of_a_peer.py", "functions_of_a_peer"])
def test_a_function_is_called(source: str, functions: Path) -> None:
    frames = torch.rand(4, 3, 20, 40)
    original = frames.clone()
    for name in ("as_array", "as_tensor"):
        baseline = function(f"{source}:{name}")
        made = baseline(frames)
        assert made.dtype == torch.float32
        torch.testing.assert_close(made, original[1:3].mean(0))
        assert torch.equal(frames, original)
    assert baseline.description == f"the function {source}:as_tensor"
    assert baseline.digest == function(f"{source}:Nets.net").digest
    assert function(f"{source}:Nets.net").parameters == 9


def test_functions_that_do_not_fit(functions: Path) -> None:
    call = partial(function, "functions_of_a_peer.py:in_bytes")
    with pytest.raises(
        ValueError, match=r"in_bytes gave torch.uint8 \(3, 8, 9\), .* \(3, 8, 9\) of floats in"
    ):
        call()(torch.rand(4, 3, 8, 9))
    with pytest.raises(ValueError, match=r"with_batch gave torch.float32 \(1, 3, 8, 9\), expected"):
        function("functions_of_a_peer.py:with_batch")(torch.rand(4, 3, 8, 9))
    with pytest.raises(ValueError, match=r"nothing gave NoneType, expected a tensor or array \(3, 8, 9\)"):
        function("functions_of_a_peer.py:Nets.nothing")(torch.rand(4, 3, 8, 9))
    with pytest.raises(
        ValueError, match=r"function midle in .*_peer.py, got None; it has as_array, as_tensor, in"
    ):
        function("functions_of_a_peer.py:midle")
    with pytest.raises(FileNotFoundError, match=r"no such file: nowhere\.py"):
        function("nowhere.py:middle")
    with pytest.raises(ValueError, match="no_such_peer cannot be imported: ModuleNotFoundError"):
        function("no_such_peer:middle")
    (functions / "broken.py").write_text("raise SystemExit('usage: broken')")
    with pytest.raises(ValueError, match=r"broken\.py cannot be imported: SystemExit: usage: broken"):
        function("broken.py:middle")
