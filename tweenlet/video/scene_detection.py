"""Scene detection: frames that repeat the previous one, and cuts between shots.

    frames ── fingerprint ── is_repeat ──> key frames ── thumbnail ── change ── is_cut ──> cuts

Repeats come first: of drawings on twos every change stands alone between two stills, which is what a cut
looks like. A fingerprint holds means over small blocks, in colour: an encoder's noise evens out in them, a
mouth that moves does not.

A cut is a step that no movement explains and that stands alone. Blocks of the later picture are looked for
in the earlier one, some way around their place; what differs from the best match is unexplained. A shaking
camera and fast limbs are explained or change every step; a flash changes two in a row; a fade changes
little at a time. None of these is a cut. Dark pictures count as much as light ones, since square roots of
the values are compared, and colours as much as lightness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tweenlet.runtime.arrays import Array, is_tensor, to_numpy

SMALL = (36, 64)
"""Height and width of a thumbnail, in pixels."""
BLOCK = (6, 8)
"""Height and width of the blocks of a thumbnail that are matched."""
REACH = 8
"""Search range of a block, in pixels of a thumbnail."""
FINE = (72, 128)
"""Height and width of a fingerprint at most."""
NOISE = 6
"""Height and width of its blocks in pixels at least: an encoder's noise evens out over so many."""
LARGEST = 1e-3
"""Share of a fingerprint's places, those that differ most, by which two frames are told apart."""
SURE, LIKELY = 2 / 255, 8 / 255
"""Differences up to which a frame is a repeat: in any case, and where those around it are far larger."""
EVERYWHERE = 12
"""How many times as much a difference counts that is everywhere."""
FAR_LARGER = 0.2
"""The share of those that it may be then."""

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Change:
    """Difference of two consecutive pictures; both (C, 36, 64), square roots of the values."""

    before: NDArray[np.float32]
    after: NDArray[np.float32]

    @cached_property
    def difference(self) -> float:
        """Mean absolute difference."""
        return float(np.abs(self.before - self.after).mean())

    @cached_property
    def correlation(self) -> float:
        """Correlation of the pixels, in [-1, 1]."""
        p, q = (x - x.mean((1, 2), keepdims=True) for x in (self.before, self.after))
        scale = float(np.linalg.norm(p) * np.linalg.norm(q))
        return float((p * q).sum()) / scale if scale > 1e-6 else 0.0

    @cached_property
    def unexplained(self) -> float:
        """Mean absolute difference after block matching."""
        height, width = self.after.shape[1:]
        padded = np.pad(self.before, ((0, 0), (REACH, REACH), (REACH, REACH)), mode="edge")
        shifts = range(2 * REACH + 1)
        errors = np.concatenate([_shifted_errors(self.after, padded[:, k : k + height]) for k in shifts])
        best, least = errors.argmin(0), errors.min(0)
        down, across = np.divmod(_on_pixels(best), len(shifts))
        rows, columns = np.indices((height, width))
        around = np.stack([padded, *np.gradient(padded, axis=(1, 2))])
        matched = around[..., rows + down, columns + across]
        finer = _block_sums(np.abs(_without_shift(self.after - matched[0], *matched[1:])))
        return float(np.minimum(least, finer).sum()) / self.after.size


def _shifted_errors(picture: Plane, wide: Plane) -> NDArray[np.float32]:
    """Absolute differences of a picture (C, H, W) from parts of a wider one, by shift across and block."""
    (_, height, width), (rows, columns) = picture.shape, BLOCK
    parts = np.lib.stride_tricks.sliding_window_view(wide, width, 2)
    errors = picture[:, :, None] - parts
    lines = np.abs(errors, out=errors).sum(0).reshape(height // rows, rows, -1, width).sum(1)
    blocks = lines.reshape(height // rows, -1, width // columns, columns).sum(3)
    return np.asarray(blocks.swapaxes(0, 1), np.float32)


def _without_shift(error: Plane, down: Plane, across: Plane) -> Plane:
    """The rest of an error once each block has moved by a fraction of a pixel: one step of Lucas and Kanade.

    The error is that of the later picture less the earlier one, whose gradients are `down` and `across`.
    """
    a, b, c = _block_sums(down**2), _block_sums(down * across), _block_sums(across**2)
    p, q = _block_sums(error * down), _block_sums(error * across)
    scale = a * c - b * b + 1e-8
    rows, columns = (c * p - b * q) / scale, (a * q - b * p) / scale
    shift = _on_pixels(rows.clip(-1, 1)) * down + _on_pixels(columns.clip(-1, 1)) * across
    return np.asarray(error - shift, np.float32)


def _block_sums(values: Plane) -> NDArray[np.float32]:
    """Sums of (C, H, W) over blocks and channels."""
    (_, height, width), (rows, columns) = values.shape, BLOCK
    blocks = values.sum(0).reshape(height // rows, rows, width // columns, columns)
    return np.asarray(blocks.sum((1, 3)), np.float32)


def _on_pixels(blocks: NDArray[Any]) -> NDArray[Any]:
    """Expand values per block to pixels."""
    return blocks.repeat(BLOCK[0], 0).repeat(BLOCK[1], 1)


def thumbnail(picture: Array) -> NDArray[np.float32]:
    """Downscale a picture (C, H, W) in [0, 1], of any size and device, to a (C, 36, 64) array."""
    return _block_means(picture, SMALL)


def change(a: NDArray[np.float32], b: NDArray[np.float32]) -> Change:
    """Difference of a thumbnail (C, 36, 64), or grey (36, 64), from the next."""
    a, b = (np.sqrt(x.reshape(-1, *x.shape[-2:]).clip(0)) for x in (a, b))
    return Change(a, b)


def is_cut(step: Change, before: Change | None, after: Change | None) -> bool:
    """Whether a step between two frames is a hard cut, given the steps before and after it (None at an
    end).
    """
    around = [s for s in (before, after) if s is not None]
    unlike = step.correlation < 0.5 and step.difference > 0.08
    if not around:
        return unlike and step.unexplained > 0.05  # nothing says how fast things move
    alone = step.difference > max(0.02, 1.5 * max(s.difference for s in around))
    if not (alone or unlike):
        return False
    if unlike and step.correlation < 0.2 and step.unexplained > 0.05:
        return True  # nothing in common, as where scenes last one frame each
    if step.unexplained < (0.5 if step.correlation > 0.9 else 0.22) * step.difference:
        return False  # most of it is movement; that of part of a pixel is explained less well
    return alone and step.unexplained > max(0.01, 3 * max(s.unexplained for s in around))


def fingerprint(picture: Array) -> NDArray[np.float32]:
    """A picture (3, H, W) in [0, 1], any size and device, as means over its blocks: (3, 72, 128) at most."""
    rows, columns = (max(1, side // NOISE) for side in picture.shape[1:])
    size = min(rows, FINE[0]), min(columns, FINE[1])
    return _block_means(picture, size)


def _block_means(picture: Array, size: tuple[int, int]) -> NDArray[np.float32]:
    """The means of so many rows and columns of blocks, which cover a picture: adaptive pooling."""
    if is_tensor(picture):
        from torch.nn.functional import adaptive_avg_pool2d

        return to_numpy(adaptive_avg_pool2d(picture.detach(), size).float())
    rows, columns = (_averaging(*sides) for sides in zip(picture.shape[1:], size, strict=True))
    return np.asarray(rows @ picture @ columns.T, np.float32)


@cache
def _averaging(length: int, count: int) -> NDArray[np.float32]:
    """The matrix (count, length) that takes pixels to the means of blocks, whose ends may share a pixel."""
    place, block = np.arange(length), np.arange(count)[:, None]
    inside = (place >= block * length // count) & (place < -(-(block + 1) * length // count))
    return np.asarray(inside / inside.sum(1, keepdims=True), np.float32)


def difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Difference of two fingerprints, in [0, 1], at the places where they differ most.

    Where that is no more than an encoder leaves at hard edges, it counts less if all else is alike.
    """
    apart = np.abs(a - b).max(0).ravel()
    most = max(1, round(LARGEST * apart.size))
    largest = float(np.partition(apart, -most)[-most:].mean())
    return min(largest, EVERYWHERE * float(apart.mean())) if largest <= LIKELY else largest


def is_repeat(drift: float, before: Sequence[float], after: Sequence[float]) -> bool:
    """Whether a frame repeats the key frame before it.

    Args:
        drift: its difference from that.
        before: the differences between neighbours in the frames before it.
        after: those in the frames after it. Encoders leave more noise in a repeat between large changes, and
            in the first of many repeats; but of steps that are all alike, none is a repeat.

    """
    if drift <= SURE or drift > LIKELY:
        return drift <= SURE
    largest = sorted((0.0, 0.0, *before, *after))[-2:]
    return drift <= FAR_LARGER * (largest[1] if min(after, default=0.0) <= SURE else largest[0])
