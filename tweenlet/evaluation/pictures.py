"""Pictures: read the samples that a report shows, and run every method on them again.

report --names of samples--> read again -> every method again -> SampleImages, in the order of the names
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tweenlet.evaluation.baselines.method import Method
from tweenlet.evaluation.metrics import eight_bit
from tweenlet.evaluation.page import SampleImages
from tweenlet.evaluation.report import Report
from tweenlet.evaluation.samples import Benchmark, Sample


def render_samples(
    report: Report,
    methods: Mapping[str, Method],
    benchmark: Benchmark,
    names: Sequence[str],
    note: Callable[[str], str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[SampleImages]:
    """The named samples with every method's output; ``note`` returns a line about a sample."""
    images: dict[str, SampleImages] = {}
    for sequence in benchmark.sequences:
        for sample in sequence.samples(lambda name: name in names and name not in images):
            if isinstance(sample, Sample) and sample.name in names:
                outputs = {name: _pixels(method(sample.frames).cpu()) for name, method in methods.items()}
                values = {s.method: s.values for s in report.scores if s.sample == sample.name}
                before, after, truth = map(_pixels, (sample.frames[1], sample.frames[2], sample.truth))
                images[sample.name] = SampleImages(
                    sample.name, note(sample.name) if note else "", before, after, truth, outputs, values
                )
                if progress is not None:
                    progress(len(images), len(names))
        if len(images) == len(names):
            break
    return [images[name] for name in names if name in images]


def _pixels(picture: Tensor) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = eight_bit(picture).byte().numpy()
    return pixels
