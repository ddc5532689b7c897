"""Evaluation: score methods that predict middle frames on held-out frames.

::

    datasets, clips, lists ──> Benchmark: Sample(four frames, truth) ──┐
    baselines ───────────────> Method(four frames) ────────────────────┼─> run.evaluate ──> Report ──> page
    metrics, ... ─ catalogue ─> Metric(output, truth) ─────────────────┘

    statistics: intervals and tests     published: results of others     compare: on a clip of the user's own

It may import interpolation and everything below it.
"""

from __future__ import annotations

from tweenlet.evaluation.baselines.classical import BASELINES
from tweenlet.evaluation.baselines.method import Method
from tweenlet.evaluation.baselines.names import methods
from tweenlet.evaluation.baselines.network import Network
from tweenlet.evaluation.benchmarks import benchmark
from tweenlet.evaluation.catalogue import METRICS, Metric
from tweenlet.evaluation.metrics import psnr, ssim, ssim_3d
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
