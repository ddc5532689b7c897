"""ModelConfig: the widths, branches and scales of one ST-MFNet, as a value.

A model is a value: the teacher, the paper's Mini, the default network and every pruned network differ only in
the numbers held here. A checkpoint carries its config, and ``STMFNet(config)`` builds the one network class.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class ModelConfig:
    """One network of the ST-MFNet family.

    Every width tuple runs finest level first. ``None`` for a branch means that it does not exist.
    """

    scales: tuple[float, ...] = (2.0, 1.0, 0.5)
    """Sizes of the fusion grid's rows relative to the frame, finest first; 1.0 is among them."""
    features: tuple[int, ...] | None = (64, 128, 256, 512)
    """Widths of the U-shaped multi-scale ResNeXt that feeds the kernel heads; None = no kernel branch."""
    kernel_hidden: int = 64
    """Hidden width of the AdaCoF heads."""
    kernel_size: int = 5
    dilation: int = 1
    flow: tuple[int, ...] | str | None = (16, 32, 64, 96, 128, 196)
    """Widths of the PWC pyramid; or "dis" = classical DIS optical flow; None = no flow branch."""
    grid: tuple[int, ...] = (32, 64, 96)
    """Widths of the fusion grid's rows, one per scale."""
    texture: tuple[int, ...] | None = (32, 64, 96, 128)
    """Widths of the 3-D U-net that adds texture; None = none."""
    texture_out: int = 32
    """Width in which the texture network fuses its five time slices."""

    def to_json(self) -> dict[str, Any]:
        """The config as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ModelConfig:
        """The inverse of :meth:`to_json`; ValueError for unknown or missing fields."""
        names = {f.name for f in fields(cls)}
        if set(values) != names:
            raise ValueError(f"expected the fields {sorted(names)}, got {sorted(values)}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


STMFNET = ModelConfig()
MINI = ModelConfig(
    features=(32, 64, 96, 128), kernel_hidden=30, flow=None,
    grid=(16, 32, 46), texture=(16, 24, 32, 40), texture_out=8,
)  # fmt: skip
