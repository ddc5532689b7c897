"""Distributed: one training over several processes started by torchrun (DistributedDataParallel).

    torchrun --nproc-per-node 2 -m tweenlet train ...

Each process takes its share of every batch, gradients are averaged, and batch norms see the whole batch, so
that the training equals that of one process with the same batch, up to rounding. Without torchrun there is
one process, and everything here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from tweenlet.runtime.folders import claim_folder

TIMEOUT = timedelta(hours=6)
"""Longest wait for the first process, which may be building a large dataset."""
NCCL_TIMEOUT = timedelta(minutes=10)
"""Longest wait of GPUs for one another, so that a dead one does not hold the others for hours."""


@contextmanager
def init_distributed() -> Iterator[None]:
    """Context in which torchrun's processes form a group; without torchrun it does nothing.

    They write to one folder, which must be on a shared disk if they run on several machines.
    """
    if not dist.is_torchelastic_launched() or dist.is_initialized():
        yield
        return
    global _control
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # before any CUDA call
        dist.init_process_group("nccl", timeout=NCCL_TIMEOUT)
        _control = dist.new_group(backend="gloo", timeout=TIMEOUT)
    else:
        dist.init_process_group("gloo", timeout=TIMEOUT)
    try:
        yield
    finally:
        _control = None
        dist.destroy_process_group()


_control: dist.ProcessGroup | None = None
"""Process group for numbers on the CPU; None = the default group."""


def world_size() -> int:
    """Number of processes of the training."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Index of this process, from 0; only the first one writes."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def main_process_first() -> Iterator[None]:
    """Run the body in the first process first; the others run it afterwards, and find the work done.

    If it failed in the first, the others raise OSError.
    """
    if world_size() == 1:
        yield
    elif rank() == 0:
        try:
            yield
        except BaseException:
            all_reduce_mean(float("nan"))
            raise
        all_reduce_mean(0.0)
    else:
        if all_reduce_mean(0.0) != 0.0:
            raise OSError("the first process failed: see its message")
        yield


@contextmanager
def claim_folder_for_all(folder: Path, names: Iterable[str]) -> Iterator[None]:
    """Claim a folder in the first process, for all; errors are those of ``claim_folder``."""
    with ExitStack() as stack:
        with main_process_first():
            if not rank():
                stack.enter_context(claim_folder(folder, names))
        yield


def local_slice(batch: int) -> slice:
    """The part of a batch for this process; ValueError if the batch cannot be divided evenly."""
    if batch % world_size():
        raise ValueError(f"expected a batch that {world_size()} processes can share equally, got {batch}")
    size = batch // world_size()
    return slice(rank() * size, (rank() + 1) * size)


def all_reduce_mean(value: float) -> float:
    """Average a number over all processes."""
    if world_size() == 1:
        return value
    tensor = torch.tensor([value], dtype=torch.float64)
    dist.all_reduce(tensor, group=_control)
    return float(tensor) / world_size()


def all_reduce_min(value: int) -> int:
    """Minimum of a number over all processes."""
    if world_size() == 1:
        return value
    tensor = torch.tensor([value])
    dist.all_reduce(tensor, dist.ReduceOp.MIN, group=_control)
    return int(tensor)


def wrap_ddp(model: nn.Module) -> nn.Module:
    """Wrap a model so that its gradients are averaged over all processes; a single process gets it back.

    Call :func:`convert_sync_batchnorm` first.
    """
    if world_size() == 1 or not any(p.requires_grad for p in model.parameters()):
        return model
    return DistributedDataParallel(model, broadcast_buffers=False)


def no_sync(model: nn.Module) -> AbstractContextManager[None]:
    """Context in which a wrapped model's gradients are accumulated locally, to be averaged later."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def convert_sync_batchnorm(model: nn.Module) -> nn.Module:
    """Replace batch norms by ones with statistics over all processes; names and tensors stay the same."""
    if world_size() == 1:
        return model
    if any(parameter.is_cuda for parameter in model.parameters()):
        synced: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return synced
    for name, child in model.named_children():
        if isinstance(child, _BatchNorm):
            norm = _SyncBatchNorm(child.num_features, child.eps, child.momentum).train(child.training)
            norm._parameters, norm._buffers = child._parameters, child._buffers  # the very same tensors
            setattr(model, name, norm)
        else:
            convert_sync_batchnorm(child)
    return model


class _Sum(torch.autograd.Function):
    """Sum of a tensor over all processes, and of its gradient."""

    @staticmethod
    def forward(_context: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _sum(tensor: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]
    return total


class _SyncBatchNorm(_BatchNorm):
    """Batch norm over the batch of all processes on CPUs. (``nn.SyncBatchNorm`` runs on GPUs only.)"""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 3:
            raise ValueError(f"expected (B, C, ...), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
        count = x.numel() // x.shape[1] * world_size()
        mean = _sum(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = _sum(centred.square().sum(axes)) / count
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        out: Tensor = centred * scale.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)
