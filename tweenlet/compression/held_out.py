"""Held-out samples of a training, as a benchmark and as pictures for the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from tweenlet.compression.report import Crops
from tweenlet.evaluation.baselines.classical import blend
from tweenlet.evaluation.baselines.method import Method
from tweenlet.evaluation.metrics import psnr
from tweenlet.evaluation.samples import Sample, everything
from tweenlet.training.data.batches import sequential
from tweenlet.training.data.dataset import CropDataset

SHOWN = 6
"""Samples that the report shows as pictures."""


@dataclass(frozen=True)
class HeldOut:
    """The held-out samples of a store, as a sequence to evaluate on."""

    store: CropDataset
    numbers: range
    """Numbers of the samples."""
    multiple: int = 1
    """Sides are cropped to multiples of this, in pixels, as by :func:`~tweenlet.training.loop.validate`."""
    name: str = "held-out crops"

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.numbers)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Empty: the samples have no files of their own."""
        return ()

    def part(self, number: int, of: int) -> HeldOut:
        """Every ``of``-th from the ``number``-th on, counted from 1."""
        return replace(self, numbers=self.numbers[number - 1 :: of])

    def samples(self, select: Callable[[str], bool] = everything) -> Iterator[Sample]:
        """Yield the samples for evaluation."""
        for number, batch in enumerate(sequential(self.store, 1, self.multiple)):
            name = f"{number}: {Path(batch.sources[0]).name}"  # not the path, which is private
            if number in self.numbers and select(name):
                clip = Path(batch.sources[0].rpartition("#")[0]).name
                yield Sample(name, clip, batch.frames[0], batch.truth[0])


def pick_crops(methods: Mapping[str, Method], held_out: HeldOut) -> tuple[Crops, ...]:
    """Pictures of SHOWN samples by every method, from the easiest sample for blending to the hardest."""
    ordered = sorted(held_out.samples(), key=lambda sample: -_psnr(blend(sample.frames), sample.truth))
    places = np.linspace(0, len(ordered) - 1, min(SHOWN, len(ordered))).round().astype(int)
    crops = []
    for sample in (ordered[place] for place in places):
        outputs = {name: method(sample.frames).cpu().clamp(0, 1) for name, method in methods.items()}
        inputs = {"before": sample.frames[1], "after": sample.frames[2], "truth": sample.truth}
        pictures = {name: (image * 255).round().byte().numpy() for name, image in (inputs | outputs).items()}
        crops.append(Crops(sample.name, pictures, {n: _psnr(p, sample.truth) for n, p in outputs.items()}))
    return tuple(crops)


def _psnr(output: Tensor, truth: Tensor) -> float:
    return psnr(output, truth).item()
