"""Method: what makes the frame in the middle, and what it tells of itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Method = Callable[[Tensor], Tensor]
"""Four frames (4, 3, H, W), RGB in [0, 1] -> the one between the inner two (3, H, W).

One that has more to say of itself has ``parameters`` (their number), ``digest`` (SHA-256 of weights, file or
command) and ``told`` (a line on what it is).
"""
FORMS = (
    'NAME="CMD {1} {2} {out}" ({0} to {3} are the four frames as PNG files, {out} the PNG to write half-way '
    "between {1} and {2}), NAME=FILE.py:FUNCTION, NAME=package.module:function or NAME=FILE.onnx"
)
"""What a peer may look like, for people."""


@dataclass(frozen=True)
class Peer:
    """A Method with what there is to say of it."""

    make: Method
    told: str
    digest: str = ""
    parameters: int = 0

    def __call__(self, frames: Tensor) -> Tensor:
        """The frame in the middle."""
        return self.make(frames)


def sha256(*parts: bytes) -> str:
    """The SHA-256 of them one after the other, in hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()
