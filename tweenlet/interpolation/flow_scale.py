"""Flow scale: the size of the frames on which a network of four frames estimates motion.

frames of up to 3 megapixels      at their own size
larger ones                       at 1/2, 1/4 ... of it, so that large motion is within the network's reach
"""

from __future__ import annotations

from dataclasses import dataclass

LARGEST = 3_000_000
"""Most pixels of a frame on which "auto" estimates motion at its own size."""
SCALES = (1, 0.5, 0.25)


@dataclass(frozen=True)
class FlowScale:
    """How many times smaller than frames those are on which motion is estimated."""

    shrink: int | None = None
    """A power of two; None depends on the frame."""

    def shrink_for(self, height: int, width: int) -> int:
        """The factor for frames of this size."""
        if self.shrink is not None:
            return self.shrink
        shrink = 1
        while height * width > LARGEST * shrink**2:
            shrink *= 2
        return shrink


def parse_flow_scale(scale: float | str, supported: bool = True) -> FlowScale:
    """Parse "auto" or one of SCALES, as a number or a string.

    Where only 1 is ``supported``, "auto" is 1. ValueError for anything else.
    """
    if scale == "auto":
        return FlowScale(None if supported else 1)
    names = {name: round(1 / known) for known in SCALES for name in (str(known), str(float(known)))}
    shrink = names.get(str(scale))
    if shrink is None:
        raise ValueError(f'expected a flow scale of "auto", {", ".join(map(str, SCALES))}; got {scale}')
    if shrink > 1 and not supported:
        raise ValueError(
            f"expected a flow scale of 1, got {scale}: only networks of four frames, such as the default, "
            "estimate motion on smaller frames"
        )
    return FlowScale(shrink)
