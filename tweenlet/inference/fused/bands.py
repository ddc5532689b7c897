"""Bands: images in bands of rows, so that intermediates are never held for a whole image.

halo | rows of the band | halo  --layer-->  thinner halo | rows | thinner halo  --layer-->  rows

Each band is computed with a halo: rows shared with its neighbours, which are read but produce no output. At
the border of the image there is no halo, and layers pad as usual.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from tweenlet.inference.fused.layers import Halo

ROWS_PER_BAND = 128
"""Most rows of a band: small enough to bound memory, large enough to make the halo cheap."""


@dataclass(frozen=True)
class Band:
    """Rows ``top`` to ``bottom`` of an image, and whether the image continues above and below."""

    top: int
    bottom: int
    halo: Halo

    @property
    def rows(self) -> slice:
        """The rows without the halo."""
        return slice(self.top, self.bottom)

    def with_halo(self, above: int, below: int, scale: int = 1) -> slice:
        """The rows in an image ``scale`` times as large, with ``above`` and ``below`` rows of halo."""
        more_above, more_below = self.halo
        return slice(scale * self.top - more_above * above, scale * self.bottom + more_below * below)


def row_bands(height: int, scale: int = 1) -> Iterator[Band]:
    """Split ``height`` rows into bands of about equal height, at most ROWS_PER_BAND / ``scale`` each."""
    count = -(-scale * height // ROWS_PER_BAND)
    for number in range(count):
        top, bottom = number * height // count, (number + 1) * height // count
        yield Band(top, bottom, (number > 0, number + 1 < count))


def crop_rows(x: Tensor, rows: int, halo: Halo) -> Tensor:
    """Drop ``rows`` rows of the halo of an image (B, C, H, W)."""
    above, below = halo
    return x[:, :, rows * above : x.shape[2] - rows * below]
