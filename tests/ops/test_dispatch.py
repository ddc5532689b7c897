"""Which backend runs an op, and that all of them do the same."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from threading import Thread

import pytest
import torch
from torch import Tensor

from tweenlet.ops import dispatch
from tweenlet.ops.adacof import adacof, adacof_backward, adacof_forward
from tweenlet.ops.correlation import correlation
from tweenlet.ops.dispatch import Backend, kernel_for, override
from tweenlet.ops.epilogue import scale_shift_act_
from tweenlet.ops.levels import merge_warped, pooled_level_inputs
from tweenlet.ops.mix import fetch_both, mix
from tweenlet.ops.overlay import measure_persistence
from tweenlet.ops.prelu import prelu_backward
from tweenlet.ops.reduce import channel_sum
from tweenlet.ops.resample import avg_pool2, box_blur, downsample, upsample_8tap, upsample_rows
from tweenlet.ops.splat import splat, splat_sum
from tweenlet.ops.warp import backwarp

CPU_ALONE = {
    "adacof_head",
    "arena",
    "bindings",
    "bottleneck",
    "level_entry",
    "library",
    "packing",
    "planes",
    "winograd",
}
"""Files of the backend on a CPU that are no op's."""


def last(*shape: int) -> Tensor:
    """Random numbers, channels_last."""
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


def taps(count: int = 9) -> list[Tensor]:
    return [torch.rand(1, count, 6, 7), 2 * torch.randn(1, count, 6, 7), 2 * torch.randn(1, count, 6, 7)]


def gradients_of_taps(frame: Tensor, *inputs: Tensor) -> list[Tensor]:
    out = [torch.empty(1, 6, 7, 9) for _ in range(3)]
    adacof_backward(frame.flip(0), frame, inputs, 1, out)
    return out


CASES: dict[str, tuple[Callable[..., object], Callable[[], tuple[object, ...]]]] = {
    "adacof": (adacof, lambda: (torch.rand(1, 3, 6, 7), *taps())),
    "adacof_forward": (adacof_forward, lambda: (torch.rand(1, 3, 6, 7), *taps(), 1)),
    "adacof_backward": (gradients_of_taps, lambda: (torch.rand(1, 3, 6, 7), *taps())),
    "box_blur": (box_blur, lambda: (torch.rand(2, 3, 7, 8), 5)),
    "avg_pool2": (avg_pool2, lambda: (torch.rand(2, 3, 7, 8),)),
    "backwarp": (backwarp, lambda: (torch.rand(2, 3, 7, 8), 3 * torch.randn(2, 2, 7, 8))),
    "channel_sum": (channel_sum, lambda: (last(1, 5, 6, 7),)),
    "correlation": (correlation, lambda: tuple(torch.randn(2, 2, 5, 9, 10))),
    "downsample": (downsample, lambda: (torch.rand(2, 3, 7, 8),)),
    "fetch_both": (
        fetch_both,
        lambda: (*torch.rand(2, 1, 3, 12, 16), 3 * torch.randn(1, 4, 6, 8)),
    ),
    "merge_warped": (
        merge_warped,
        lambda: (last(1, 5, 8, 12), last(1, 5, 8, 12), [last(1, 6, 4, 6), last(1, 6, 8, 12)]),
    ),
    "mix": (
        mix,
        lambda: (
            *torch.rand(2, 1, 3, 12, 16),
            last(1, 24, 6, 8),
            last(1, 1, 6, 8),
            last(1, 16, 6, 8),
            torch.rand(1, 1, 12, 16),
        ),
    ),
    "measure_persistence": (
        measure_persistence,
        lambda: (torch.rand(2, 4, 3, 16, 24), torch.tensor([[False, True], [False, False]])),
    ),
    "pooled_level_inputs": (
        pooled_level_inputs,
        lambda: (last(1, 5, 8, 12), last(1, 5, 8, 12), torch.full((1, 1, 1, 1), 0.3), 2, [last(1, 6, 2, 3)]),
    ),
    "prelu_backward": (
        prelu_backward,
        lambda: (last(2, 5, 6, 7), last(2, 5, 6, 7), torch.rand(5)),
    ),
    "scale_shift_act_": (
        scale_shift_act_,
        lambda: (last(1, 5, 6, 7), torch.rand(5), torch.rand(5), last(1, 5, 6, 7), 0.1),
    ),
    "splat": (
        splat,
        lambda: (torch.rand(1, 3, 7, 8), 3 * torch.randn(1, 2, 7, 8), torch.randn(1, 1, 7, 8)),
    ),
    "splat_sum": (splat_sum, lambda: (torch.rand(1, 3, 7, 8), 3 * torch.randn(1, 2, 7, 8))),
    "upsample_8tap": (upsample_8tap, lambda: (torch.rand(2, 3, 7, 8),)),
    "upsample_rows": (upsample_rows, lambda: (last(2, 5, 6, 7), 3, 10)),
}


def kernels(backend: str) -> dict[str, Callable[..., object]]:
    """The kernels of a backend, by name."""
    kernel_of: dict[str, Callable[..., object]] = {}
    for name in files_of(backend):
        if find_spec(f"tweenlet.ops.{name}") is not None:
            file = importlib.import_module(f"tweenlet.ops.{backend}.{name}")
            public = inspect.getmembers(file, inspect.isfunction)
            kernel_of |= {n: f for n, f in public if f.__module__ == file.__name__ and not n.startswith("_")}
    return kernel_of


def files_of(backend: str) -> set[str]:
    package = importlib.import_module(f"tweenlet.ops.{backend}")
    return {module.name for module in pkgutil.iter_modules(package.__path__)}


def op_of(kernel: Callable[..., object]) -> Callable[..., object]:
    file = kernel.__module__.rpartition(".")[2]
    op: Callable[..., object] = getattr(importlib.import_module(f"tweenlet.ops.{file}"), kernel.__name__)
    return op


@pytest.fixture(params=["cpu", "cuda"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "cpu" and not dispatch.has_native():
        pytest.skip("no C compiler")
    if request.param == "cuda" and (find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") != "1"):
        pytest.skip("no Triton, or a device of its own, for which test_cuda is")
    return request.param


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_backend_does_as_the_reference(name: str, backend: Backend) -> None:
    if name not in kernels(backend):
        pytest.skip(f"no kernel of {name}")
    op, inputs = CASES[name]
    outputs = []
    for by in ("reference", backend):
        torch.manual_seed(0)
        with override("reference"):
            given = inputs()
        with torch.no_grad(), override(by):
            out = op(*given)
        outputs.append(out if isinstance(out, (tuple, list)) else (out,))
    for one, other in zip(*outputs, strict=True):
        torch.testing.assert_close(other, one, atol=2e-4, rtol=1e-4)


def test_every_kernel_is_tested_and_has_the_signature_of_its_op(backend: Backend) -> None:
    found = kernels(backend)
    assert set(found) <= set(CASES)
    for name, kernel in found.items():
        ours, theirs = (inspect.signature(f).parameters for f in (kernel, op_of(kernel)))
        assert list(ours) == list(theirs), name


def test_folders_hold_the_names_of_the_ops(backend: Backend) -> None:
    names = files_of(backend) - CPU_ALONE - {"blocks"}
    assert all(find_spec(f"tweenlet.ops.{name}") for name in names), names


@pytest.mark.skipif(not dispatch.has_native(), reason="no C compiler")
@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (torch.zeros(1, 2, 4, 4, requires_grad=True), "a gradient is required"),
        (torch.zeros(1, 2, 4, 4, device="meta"), "a tensor is on meta"),
        (torch.zeros(1, 2, 4, 4).double(), "a tensor is of torch.float64, not torch.float32"),
        (torch.zeros(0, 2, 4, 4), "a tensor is empty, (0, 2, 4, 4)"),
    ],
    ids=["gradient", "device", "dtype", "empty"],
)
def test_a_backend_that_is_demanded_says_why_it_refuses(x: Tensor, reason: str) -> None:
    assert kernel_for(splat_sum, x) is None
    expected = re.escape(f"expected inputs that the cpu kernel of splat_sum takes: {reason}")
    with override("cpu"), pytest.raises(ValueError, match=expected):
        kernel_for(splat_sum, x)
    with override("cpu"), pytest.raises(ValueError, match="not channels_last"):
        kernel_for(channel_sum, torch.zeros(1, 2, 3, 4), channels_last=True)


def test_an_op_without_a_kernel_there_runs_as_plain_pytorch() -> None:
    with override("cpu"):
        assert kernel_for(splat, torch.zeros(1, 2, 4, 4).double()) is None


def test_a_demand_ends_with_its_block() -> None:
    x = torch.zeros(1, 2, 4, 4)
    chosen = kernel_for(splat_sum, x)
    with suppress(KeyError), override("reference"):
        assert kernel_for(splat_sum, x) is None
        assert not dispatch.has_native()
        raise KeyError
    assert kernel_for(splat_sum, x) is chosen
    with pytest.raises(ValueError, match="one of reference, cpu, cuda, got tpu"):
        override("tpu").__enter__()  # type: ignore[arg-type]


def test_nothing_is_chosen_while_a_graph_is_traced() -> None:
    def op(x: Tensor) -> Tensor:
        return x + (kernel_for(splat_sum, x) is None)

    graph = torch.compile(op, backend="eager", fullgraph=True)
    assert graph(torch.zeros(1))[0] == 1


def test_demands_hold_in_other_threads() -> None:
    chosen: list[object] = []
    with override("reference"):
        thread = Thread(target=lambda: chosen.append(kernel_for(splat_sum, torch.zeros(1, 2, 4, 4))))
        thread.start()
        thread.join()
    assert chosen == [None]
