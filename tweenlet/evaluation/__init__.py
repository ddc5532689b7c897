"""Evaluation: any method that makes middle frames, scored against frames that were hidden from it.

::

    benchmarks ──> Sample(four frames, truth) ──┐
    peers ───────> Method(four frames) ─────────┴─> evaluate ──> Report: table and JSON
    metrics ─────> psnr, ssim ──────────────────────┘
"""

from __future__ import annotations

from tweenlet.evaluation.benchmarks import Benchmark, Clip, Sample, benchmark, clips
from tweenlet.evaluation.metrics import psnr, ssim
from tweenlet.evaluation.peers import PEERS, Method, Network, methods
from tweenlet.evaluation.report import Entrant, Report, Score, compare, evaluate

__all__ = [
    "PEERS", "Benchmark", "Clip", "Entrant", "Method", "Network", "Report", "Sample", "Score",
    "benchmark", "clips", "compare", "evaluate", "methods", "psnr", "ssim",
]  # fmt: skip
