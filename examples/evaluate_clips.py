"""Networks beside simple methods on your own clips, with intervals: is the network worth its time?

python examples/evaluate_clips.py VIDEOS [SUBSET]        SUBSET: 1/10 is every tenth sample, the default
"""

import sys

from tweenlet.evaluation import METRICS, benchmark, evaluate, methods

videos, subset = sys.argv[1], sys.argv[2] if sys.argv[2:] else "1/10"
report = evaluate(
    methods(["default", "dis", "blend"]),
    benchmark(f"clips:{videos}", subset),
    {name: METRICS[name] for name in ("psnr", "ssim", "detail")},
)
print(report.summary())
print(report.certainty())
print(report.origin)
