"""Flow scale: frames between those of enlarged clips, with motion estimated on frames of several sizes.

    python scripts/flow_scale.py CLIPS [--subset 1/3] [--enlarge 1 2 3 4]

    window of a clip --> enlarged, as if filmed in a higher resolution --> the default network, at each flow
    scale --> as small as before --> PSNR, feature distance

Clips as `tweenlet evaluate` takes them. They are blurred by enlarging: details of true 4K are not measured.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.nn import functional as F

import tweenlet
from tweenlet.evaluation.clips import clips
from tweenlet.evaluation.features import feature_distance
from tweenlet.evaluation.metrics import psnr
from tweenlet.runtime.tables import table

SCALES = (1, 0.5, 0.25)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("clips", type=Path)
    parser.add_argument("--subset", default="1/3")
    parser.add_argument("--enlarge", type=int, nargs="+", default=[1, 2, 3, 4])
    options = parser.parse_args()
    network = tweenlet.load("default")
    methods = {scale: tweenlet.Interpolator(network, tile="auto", flow_scale=scale) for scale in SCALES}
    scores = defaultdict(list)
    for sample in clips(options.clips).part(*map(int, options.subset.split("/"))):
        for factor in options.enlarge:
            frames = list(enlarged(sample.frames, factor))
            for scale, method in methods.items():
                began = time.process_time()
                middle = method.middle(frames)
                seconds = time.process_time() - began
                output = F.avg_pool2d(middle[None], factor)[0].clamp(0, 1)
                values = float(psnr(output, sample.truth)), feature_distance(output, sample.truth), seconds
                scores[factor, scale].append(values)
    rows = [(*map(str, key), *(f"{x:.3f}" for x in np.mean(of, 0))) for key, of in scores.items()]
    print(table(("enlarged", "flow scale", "PSNR (dB)", "feature distance", "CPU s"), rows, names=2))


def enlarged(frames: Tensor, factor: int) -> Tensor:
    """Frames (N, 3, H, W) enlarged bicubically."""
    return F.interpolate(frames, scale_factor=factor, mode="bicubic").clamp(0, 1)


if __name__ == "__main__":
    main()
