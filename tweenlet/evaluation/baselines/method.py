"""Method: the interface of everything that is evaluated, and how a method describes itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Method = Callable[[Tensor], Tensor]
"""Four frames (4, 3, H, W), RGB in [0, 1] -> the one between the inner two (3, H, W).

Optional attributes are ``parameters`` (their number), ``digest`` (SHA-256 of weights, file or command) and
``description`` (one line).
"""
FORMS = (
    'NAME="CMD {1} {2} {out}" ({0} to {3} are the four frames as PNG files, {out} the PNG to write half-way '
    "between {1} and {2}), NAME=FILE.py:FUNCTION, NAME=package.module:function or NAME=FILE.onnx"
)
"""Forms of a baseline on the command line, for error messages."""


@dataclass(frozen=True)
class Baseline:
    """A Method with its description."""

    predict: Method
    description: str
    digest: str = ""
    parameters: int = 0

    def __call__(self, frames: Tensor) -> Tensor:
        """Predict the middle frame."""
        return self.predict(frames)


def sha256(*parts: bytes) -> str:
    """SHA-256 of the concatenated parts, in hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
