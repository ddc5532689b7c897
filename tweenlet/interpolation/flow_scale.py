"""Flow scale: the size of the frames on which a network of four frames estimates motion.

frames of up to 3 megapixels      at their own size
of up to 12                       at half of it, so that large motion is within the network's reach
larger ones                       at a quarter
"""

from __future__ import annotations

from dataclasses import dataclass

LARGEST = 3_000_000
"""Most pixels of a frame on which "auto" estimates motion at its own size."""
SCALES = (1, 0.5, 0.25)


@dataclass(frozen=True)
class FlowScale:
    """Factor by which frames are downsampled before motion is estimated."""

    shrink: int | None = None
    """1, 2 or 4; None depends on the frame."""

    def shrink_for(self, height: int, width: int) -> int:
        """The factor for frames of this size."""
        if self.shrink is not None:
            return self.shrink
        return 1 if height * width <= LARGEST else 2 if height * width <= 4 * LARGEST else 4


def parse_flow_scale(scale: float | str, supported: bool = True) -> FlowScale:
    """Parse "auto" or one of SCALES, as a number or a string.

    Where only 1 is ``supported``, "auto" is 1. ValueError for anything else.
    """
    if scale == "auto":
        return FlowScale(None if supported else 1)
    try:
        shrink = {scale: round(1 / scale) for scale in SCALES}[float(scale)]
    except (KeyError, TypeError, ValueError):
        expected = ", ".join(map(str, SCALES))
        raise ValueError(f'expected a flow scale of "auto", {expected}; got {scale}') from None
    if shrink > 1 and not supported:
        raise ValueError(
            f"expected a flow scale of 1, got {scale}: only networks of four frames, such as the default, "
            "estimate motion on smaller frames, by the engines eager, cudagraph and lite"
        )
    return FlowScale(shrink)
