"""tweenlet: video frame interpolation, and tools to compress and train such networks.

>>> model = tweenlet.load("default")
>>> summary = tweenlet.interpolate_video("in.mp4", "out.mp4", factor=2, model=model)
>>> summary.frames_in, summary.frames_out
(4, 7)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tweenlet.runtime.extras import import_extra
from tweenlet.runtime.malloc import retain_freed_memory
from tweenlet.runtime.openmp import set_passive_wait

if TYPE_CHECKING:
    __version__: str
    from tweenlet.compression.api import compress, distill, sparsify, train
    from tweenlet.compression.budget import Budget
    from tweenlet.compression.modules.weights import load_pruned
    from tweenlet.interpolation.interpolator import Interpolator
    from tweenlet.interpolation.pair import interpolate_pair
    from tweenlet.interpolation.sequences import interpolate
    from tweenlet.interpolation.video import Summary, interpolate_video
    from tweenlet.network.checkpoint import load, save
    from tweenlet.network.config import MINI, STMFNET, ModelConfig
    from tweenlet.network.stmfnet import STMFNet
    from tweenlet.network.weight_files import names
    from tweenlet.training.options import (
        DataOptions,
        DistillOptions,
        Plan,
        Recipe,
        SparsifyOptions,
        TrainOptions,
    )

__all__ = [
    "MINI",
    "STMFNET",
    "Budget",
    "DataOptions",
    "DistillOptions",
    "Interpolator",
    "ModelConfig",
    "Plan",
    "Recipe",
    "STMFNet",
    "SparsifyOptions",
    "Summary",
    "TrainOptions",
    "compress",
    "distill",
    "interpolate",
    "interpolate_pair",
    "interpolate_video",
    "load",
    "load_pruned",
    "names",
    "save",
    "sparsify",
    "train",
]

_HOMES = {
    "compression.api": ("compress", "distill", "sparsify", "train"),
    "compression.budget": ("Budget",),
    "compression.modules.weights": ("load_pruned",),
    "training.options": (
        *("DataOptions", "DistillOptions", "Plan", "Recipe", "SparsifyOptions", "TrainOptions"),
    ),
    "network.config": ("MINI", "STMFNET", "ModelConfig"),
    "interpolation.interpolator": ("Interpolator",),
    "interpolation.sequences": ("interpolate",),
    "interpolation.pair": ("interpolate_pair",),
    "interpolation.video": ("Summary", "interpolate_video"),
    "network.stmfnet": ("STMFNet",),
    "network.checkpoint": ("load", "save"),
    "network.weight_files": ("names",),
}

retain_freed_memory()
set_passive_wait()


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `tweenlet --help` does not wait for torch."""
    if name == "__version__":
        from importlib.metadata import version  # slower than everything else here

        return version("tweenlet")
    for home, names_there in _HOMES.items():
        if name in names_there:
            return getattr(import_extra(f"tweenlet.{home}"), name)
    raise AttributeError(f"module 'tweenlet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
