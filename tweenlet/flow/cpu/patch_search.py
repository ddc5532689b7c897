"""The patch search in C (csrc/patch_search.c)."""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.flow.patch_search import LEAST_DETERMINANT, STEPS, STRIDE
from tweenlet.ops.cpu.bindings import for_each_sample
from tweenlet.ops.cpu.library import loaded, threads_for


def sobel(image: Tensor) -> Tensor:
    """As :func:`tweenlet.flow.patch_search.sobel`."""
    gradients = image.new_empty(len(image), 2, *image.shape[1:])
    threads = threads_for(image[0].numel())
    for_each_sample(loaded().sobel, (image.contiguous(), gradients), *image.shape[1:], threads)
    return gradients


def search_round(first: Tensor, second: Tensor, gradients: Tensor, vectors: Tensor, distance: int) -> Tensor:
    """As :func:`tweenlet.flow.patch_search.search_round`."""
    inputs = [x.contiguous() for x in (first, second, gradients, vectors)]
    better = torch.empty_like(inputs[-1])
    settings = (STRIDE, distance, STEPS, LEAST_DETERMINANT, threads_for(first[0].numel()))
    sizes = (*first.shape[1:], *vectors.shape[2:])
    for_each_sample(loaded().search_round, (*inputs, better), *sizes, *settings)
    return better


def densify(first: Tensor, second: Tensor, vectors: Tensor) -> Tensor:
    """As :func:`tweenlet.flow.patch_search.densify`."""
    inputs = [x.contiguous() for x in (first, second, vectors)]
    flow = first.new_empty(len(first), 2, *first.shape[1:])
    sizes = (*first.shape[1:], *vectors.shape[2:], STRIDE, threads_for(first[0].numel()))
    for_each_sample(loaded().densify, (*inputs, flow), *sizes)
    return flow
