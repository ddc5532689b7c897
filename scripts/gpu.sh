#!/usr/bin/env bash
# What to run where a CUDA device can be had, in the order in which it tells most. docs/gpu.md says how to read it.
#   scripts/gpu.sh [kernels | tests | bench | video | all]     Results as JSON and logs go to $OUT, work/gpu if that is not set.
set -uo pipefail # a test that fails does not keep the rest from being timed
cd "$(dirname "$0")/.." || exit
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
out=${OUT:-work/gpu}
mkdir -p "$out"

if ! python3 -c 'import importlib.metadata as m; m.version("tweenlet")' 2> /dev/null; then # not installed: its name and version alone
  named="$(mktemp -d)/tweenlet-0.dist-info"
  mkdir "$named"
  printf 'Metadata-Version: 2.1\nName: tweenlet\nVersion: %s\n' "$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" > "$named/METADATA"
  export PYTHONPATH="$PYTHONPATH:$(dirname "$named")"
fi

kernels() { # are they right on this device, how fast, and by which settings
  python3 -m pytest -q -W default tests/ops 2>&1 | tee "$out/kernels-tests.log"
  python3 scripts/gpu_kernels.py 2>&1 | tee "$out/kernels.log"
  python3 scripts/gpu_kernels.py --size 3840x2160 2>&1 | tee "$out/kernels-double.log"
}

tests() { # graph against eager against plain; bench and copies on the device
  python3 -m pytest -q -W default tests/inference tests/bench tests/interpolation/test_prefetch.py \
    tests/interpolation/test_learned_motion.py -k "device or replay or copie or same_frames" 2>&1 | tee "$out/tests.log"
}

bench() { # the goals: MINI over 30 frames a second at 1080p, the default network over 100
  for model in mini default stmfnet; do
    python3 -m tweenlet bench $model --device cuda --size 1080p --dtype float16 --engines eager,cudagraph --runs 20 \
      --json "$out/$model.json" --overwrite | tee "$out/$model.log"
  done
  python3 -m tweenlet bench mini --device cuda --size 1080p --dtype float16 --engines cudagraph \
    --vs mini:cudagraph:bfloat16 mini:cudagraph:float32 --runs 10 | tee "$out/mini-dtypes.log"
}

video() { # decode, copies, network, encode together: frames a second of a 1080p video of 96 frames
  python3 - "$out" <<'PYTHON' 2>&1 | tee "$out/video.log"
import sys
from pathlib import Path

import av
import torch
from tweenlet import interpolate_video
from tweenlet.bench.targets import moving_picture
from tweenlet.network.checkpoint import network_of

source = Path(sys.argv[1], "source.mp4")
with av.open(source, "w") as container:
    stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
    stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
    for picture in moving_picture((1920, 1080), 96):
        frame = av.VideoFrame.from_ndarray((255 * picture).byte().permute(1, 2, 0).numpy(), "rgb24")
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
for name in ("mini", "default"):
    for engine in ("eager", "cudagraph"):
        torch.manual_seed(0)
        done = interpolate_video(
            source, Path(sys.argv[1], "made.mp4"), model=network_of(name), device="cuda", dtype=torch.float16,
            engine=engine, overwrite=True,
        )
        print(f"{name} {engine}: {done.frames_made} frames made in {done.seconds:.1f} s, {done.frames_made / done.seconds:.1f} a second")
PYTHON
}

for part in ${@:-all}; do
  if [ "$part" = all ]; then kernels && tests && bench && video; else "$part"; fi
done
