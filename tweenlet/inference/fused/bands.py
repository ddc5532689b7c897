"""Bands: some rows at a time, so that what lies between layers is never whole.

rows around a band | its rows | rows around  --layer-->  fewer rows around | ... --layer-->  its rows

Layers look at the rows around a band but make nothing of the outermost (``cut``): there is more above and
below than they see. Where the picture ends, they see nothing beyond, as in the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from tweenlet.inference.fused.layers import Cut

ROWS = 128
"""Rows of a band at most: few enough to be small, enough for the rows around it not to count."""


@dataclass(frozen=True)
class Band:
    """Rows of a picture, and whether there are more above and below."""

    top: int
    bottom: int
    cut: Cut

    @property
    def rows(self) -> slice:
        """Its own."""
        return slice(self.top, self.bottom)

    def seen(self, above: int, below: int, scale: int = 1) -> slice:
        """Of a picture ``scale`` times the size: its rows, and so many more where there are any."""
        more_above, more_below = self.cut
        return slice(scale * self.top - more_above * above, scale * self.bottom + more_below * below)


def bands(height: int, scale: int = 1) -> Iterator[Band]:
    """Cut ``height`` rows into bands of about one height, each at most ROWS at ``scale`` times the size."""
    count = -(-scale * height // ROWS)
    for number in range(count):
        top, bottom = number * height // count, (number + 1) * height // count
        yield Band(top, bottom, (number > 0, number + 1 < count))


def inner(x: Tensor, rows: int, cut: Cut) -> Tensor:
    """Without so many rows where it was cut out of a picture."""
    above, below = cut
    return x[:, :, rows * above : x.shape[2] - rows * below]
