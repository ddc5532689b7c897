r"""Synthetic motion: stills and pasted layers moved by smooth random fields, whose middle frame is exact.

    still -> background  \
    still -> layer, mask  >  each moved by its own field  ->  composited at five moments  ->  (5, h, w, 3)
    still -> layer, mask /

A pixel x of a layer at moment m shows the layer's point x + v(x) m + a(x) m^2 / 2, with velocity v and
acceleration a in pixels per input step. The five moments are those of a window: t, t+2, t+3, t+4, t+6.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tweenlet.training.data.clips import Pixels

MOMENTS = (-1.5, -0.5, 0.0, 0.5, 1.5)
"""Times of the window's frames in input steps from the truth."""

Field = NDArray[np.float32]


def moving_scene(stills: Sequence[Pixels], size: int, random: np.random.Generator) -> Pixels:
    """Five frames (5, size, size, 3) uint8 of a scene from stills (H, W, 3) uint8, H and W >= size."""
    speed = float(np.exp(random.normal(1.9, 0.9)))  # pixels per input step; median 6.7
    camera = _field(size, speed, random)
    scene = _moved(_piece(stills, size, random), camera, bend=random.normal(0, 0.2))
    for _ in range(random.integers(0, 4)):
        motion = camera * random.uniform(0, 1) + _field(size, speed * random.uniform(0.3, 1.5), random)
        bend = random.normal(0, 0.3)
        layer = _moved(_piece(stills, size, random), motion, bend)
        cover = _moved(_blob(size, random), motion, bend)[..., None]
        scene = scene + (layer - scene) * cover
    return np.clip(np.rint(scene), 0, 255).astype(np.uint8)


def _moved(picture: Field, velocity: Field, bend: float) -> Field:
    """The picture at the five moments, (5, h, w[, 3]); `bend` is acceleration in units of the velocity."""
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
    coloured = picture.ndim == 3
    how = cv2.INTER_CUBIC if coloured else cv2.INTER_LINEAR
    border = cv2.BORDER_REFLECT_101 if coloured else cv2.BORDER_CONSTANT
    views: list[Field] = []
    for moment in MOMENTS:
        m = np.float32(moment + bend * moment**2 / 2)
        x, y = columns + velocity[..., 0] * m, rows + velocity[..., 1] * m
        views.append(np.asarray(cv2.remap(picture, x, y, how, borderMode=border), dtype=np.float32))
    return np.stack(views)


def _field(size: int, speed: float, random: np.random.Generator) -> Field:
    """A smooth velocity field (size, size, 2): shift, rotation, zoom and shear about a point, and ripples."""
    shift = random.normal(0, speed, 2)
    linear = random.normal(0, speed / size, (2, 2))
    centre = random.uniform(0, size, 2)
    rows, columns = np.mgrid[:size, :size]
    at = np.stack([columns, rows], axis=-1) - centre
    knots = int(random.integers(3, 9))
    ripples = random.normal(0, speed * random.uniform(0, 0.3), (knots, knots, 2))
    smooth = cv2.resize(ripples.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(shift + at @ linear.T + smooth, dtype=np.float32)


def _piece(stills: Sequence[Pixels], size: int, random: np.random.Generator) -> Field:
    """A random square of a random still, (size, size, 3) float32 0..255."""
    still = stills[int(random.integers(len(stills)))]
    top, left = (int(random.integers(extent - size + 1)) for extent in still.shape[:2])
    return still[top : top + size, left : left + size].astype(np.float32)


def _blob(size: int, random: np.random.Generator) -> Field:
    """A soft-edged random shape, (size, size) float32 in [0, 1]."""
    knots = int(random.integers(3, 8))
    noise = random.normal(0, 1, (knots, knots)).astype(np.float32)
    height = cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[:size, :size] / size
    y, x = random.uniform(0.2, 0.8, 2)
    reach = random.uniform(0.1, 0.35)
    near = 2.0 * (1 - np.hypot(rows - y, columns - x) / reach)
    shape = ((height + near) > 0).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(shape, (0, 0), float(random.uniform(0.5, 1.2))), dtype=np.float32)
