"""Evaluation: any method that makes middle frames, scored against frames that were hidden from it.

::

    samples, benchmarks ──> Sample(four frames, truth) ──┐
    baselines ───────────────> Method(four frames) ──────────┼─> run.evaluate ──> Report ──┬─> Markdown, JSON
    metrics, lpips ──────> Metric(output, truth) ────────┘                             └─> pictures, page

    datasets, clips: what a benchmark may be
    statistics: how sure     published: what others measured     judge: on a clip of one's own
"""

from __future__ import annotations

from tweenlet.evaluation.baselines.classical import BASELINES
from tweenlet.evaluation.baselines.method import Method
from tweenlet.evaluation.baselines.names import methods
from tweenlet.evaluation.baselines.network import Network
from tweenlet.evaluation.benchmarks import benchmark
from tweenlet.evaluation.metrics import METRICS, Metric, psnr, ssim, ssim_3d
from tweenlet.evaluation.report import MethodInfo, Report, Score
from tweenlet.evaluation.run import evaluate
from tweenlet.evaluation.samples import Benchmark, Clip, Sample, Stills, UnreadableSample

__all__ = [
    "BASELINES",
    "METRICS",
    "Benchmark",
    "Clip",
    "Method",
    "MethodInfo",
    "Metric",
    "Network",
    "Report",
    "Sample",
    "Score",
    "Stills",
    "UnreadableSample",
    "benchmark",
    "evaluate",
    "methods",
    "psnr",
    "ssim",
    "ssim_3d",
]  # fmt: skip
