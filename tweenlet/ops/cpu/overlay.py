"""Overlay detection in C (csrc/overlay.c)."""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.ops.cpu.bindings import for_each_sample
from tweenlet.ops.cpu.library import require_library
from tweenlet.ops.overlay import BLOCK, NOISE, SHADE, SHAPE


def measure_persistence(frames: Tensor, duplicates: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`tweenlet.ops.overlay.measure_persistence`."""
    batch, *_, height, width = frames.shape
    persistence = frames.new_empty(batch, 1, height, width)
    changes = frames.new_empty(batch, 3, height // BLOCK, width // BLOCK)
    samples = (frames.contiguous(), duplicates.int().contiguous(), persistence, changes)
    settings = (height, width, NOISE, *SHAPE, *SHADE, torch.get_num_threads())
    for_each_sample(require_library().static_overlay, samples, *settings)
    return persistence, changes
