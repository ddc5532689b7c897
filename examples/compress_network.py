"""A network half as large, pruned and taught on your videos, with a report of what it costs and gains.

python examples/compress_network.py VIDEOS OUT [STEPS [CROP]]        OUT/student.safetensors, OUT/report.html
"""

import sys

import tweenlet

videos, out = sys.argv[1:3]
steps = int(sys.argv[3]) if sys.argv[3:] else 2000
crop = int(sys.argv[4]) if sys.argv[4:] else 128  # a multiple of the network's stride

plan = tweenlet.Plan(
    prune="taylor",  # by what the loss says of each channel
    passes=min(16, steps),
    distill=tweenlet.DistillOptions(steps=steps, learning_rate=3e-4, warmup=steps // 20 + 1),
)
recipe = tweenlet.Recipe(samples=20 * min(steps, 200), validation=8, crop=crop)
data = tweenlet.DataOptions(batch=4, crop=crop, recipe=recipe)
tweenlet.compress("default", videos, "50%", out=out, plan=plan, data_options=data, notify=print)

small = tweenlet.load(f"{out}/student.safetensors")
print(f"{sum(p.numel() for p in small.parameters()):,} parameters in {out}/student.safetensors")
