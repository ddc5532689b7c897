"""Dispatch: the choice of backend for every op.

    op(tensors) --> kernel_for(op, tensors) --+--> None: the op's own plain PyTorch, the reference
                                              +--> "cpu":  tweenlet.ops.cpu.warp.backwarp     compiled C
                                              +--> "cuda": tweenlet.ops.cuda.warp.backwarp    Triton

A kernel has the name and signature of its op, in the file of the same name one folder down, and is imported
when first chosen. Kernels run forward only, and not while a graph is traced, so that compiled and exported
networks use PyTorch's operations. To compare backends, or to rule one out:

    with override("reference"):
        ...
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, ParamSpec, TypeVar, cast, get_args

import torch
from torch import Tensor

from tweenlet.ops.cpu.library import library

Backend = Literal["reference", "cpu", "cuda"]
P = ParamSpec("P")
T = TypeVar("T")
FLOAT32 = (torch.float32,)
FLOAT32_OR_BF16 = (torch.float32, torch.bfloat16)
_forced: Backend | None = None


@contextmanager
def override(backend: Backend) -> Iterator[None]:
    """Run all ops by one backend within the block, in the whole process, including other threads.

    "cpu" and "cuda" are strict: an op whose kernel refuses its tensors raises ValueError, with the reason. An
    op without a kernel there runs as plain PyTorch. Under TRITON_INTERPRET=1, "cuda" also takes tensors on
    the CPU. ValueError for any other name.
    """
    global _forced
    if backend not in get_args(Backend):
        raise ValueError(f"expected one of {', '.join(get_args(Backend))}, got {backend}")
    before, _forced = _forced, backend
    try:
        yield
    finally:
        _forced = before


def has_native(dtype: torch.dtype = torch.float32) -> bool:
    """Whether CPU kernels may compute in ``dtype``: float32, or bfloat16 if the processor supports it."""
    return _forced in (None, "cpu") and _cpu_dtype_refusal(dtype, FLOAT32_OR_BF16) is None


def has_loaded_native() -> bool:
    """Whether CPU kernels may compute and need no loading first: something else has asked for them before."""
    return library.cache_info().currsize > 0 and has_native()


def kernel_for(
    op: Callable[P, T],
    *inputs: Tensor,
    cpu_dtypes: tuple[torch.dtype, ...] = FLOAT32,
    channels_last: bool = False,
) -> Callable[P, T] | None:
    """The kernel to run instead of the rest of ``op``; None if there is none for these inputs.

    Args:
        op: the public function; its kernels have the same module and name.
        inputs: the tensors that decide.
        cpu_dtypes: dtypes of the CPU kernel; CUDA kernels take any floating dtype.
        channels_last: whether the CPU kernel requires channels_last inputs.

    Raises:
        ValueError: a backend forced by :func:`override` refuses, with its reason.

    """
    if _forced == "reference":
        return None
    backend = _forced or ("cuda" if inputs[0].is_cuda else "cpu")
    refusal = _refusal(inputs) or (
        _cuda_refusal(inputs) if backend == "cuda" else _cpu_refusal(inputs, cpu_dtypes, channels_last)
    )
    if refusal is None:
        return cast("Callable[P, T] | None", _find(op.__module__, op.__name__, backend))
    missing = backend == "cuda" and not _triton_is_installed()
    if _forced is not None and (missing or _find(op.__module__, op.__name__, backend) is not None):
        raise ValueError(f"expected inputs that the {backend} kernel of {op.__name__} takes: {refusal}")
    return None


def _refusal(inputs: tuple[Tensor, ...]) -> str | None:
    """Why no kernel can run; None if one might."""
    if torch.compiler.is_compiling():
        return "a graph is being traced"
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        return "a gradient is required"
    return None


def _cpu_refusal(
    inputs: tuple[Tensor, ...], dtypes: tuple[torch.dtype, ...], channels_last: bool
) -> str | None:
    for x in inputs:
        if x.device.type != "cpu":
            return f"a tensor is on {x.device}"
        if x.numel() == 0:
            return f"a tensor is empty, {tuple(x.shape)}"
        if channels_last and not (x.dim() in (4, 5) and x.movedim(1, -1).is_contiguous()):
            return f"a tensor of shape {tuple(x.shape)} and strides {x.stride()} is not channels_last"
        if x.dtype != inputs[0].dtype:
            return f"tensors are of {inputs[0].dtype} and {x.dtype}"
    return _cpu_dtype_refusal(inputs[0].dtype, dtypes)


def _cpu_dtype_refusal(dtype: torch.dtype, dtypes: tuple[torch.dtype, ...]) -> str | None:
    if dtype not in dtypes:
        return f"a tensor is of {dtype}, not {' or '.join(map(str, dtypes))}"
    loaded = library()
    if loaded is None:
        return "there is no native code"
    if dtype == torch.bfloat16 and not loaded.has_bf16():
        return "this processor does not compute with bfloat16"
    return None


def _cuda_refusal(inputs: tuple[Tensor, ...]) -> str | None:
    if not _triton_is_installed():
        return "Triton is not installed"
    interpreted = _forced == "cuda" and os.environ.get("TRITON_INTERPRET") == "1"
    elsewhere = next((x for x in inputs if not x.is_cuda and not interpreted), None)
    return None if elsewhere is None else f"a tensor is on {elsewhere.device}"


@cache
def _triton_is_installed() -> bool:
    return find_spec("triton") is not None


@cache
def _find(module: str, name: str, backend: str) -> Callable[..., Any] | None:
    package, _, file = module.rpartition(".")
    path = f"{package}.{backend}.{file}"
    if find_spec(f"{package}.{backend}") is None or find_spec(path) is None:
        return None
    return cast("Callable[..., Any] | None", getattr(import_module(path), name, None))
