#!/usr/bin/env bash
# A small network learns from frames that another program made, without that program's code or weights.
#   examples/distil_from_frames.sh VIDEOS FRAMES OUT [options of tweenlet distill]
# FRAMES/CLIP/N.png is the program's guess at frame N of VIDEOS/CLIP, made of the frames N-3, N-1, N+1 and N+3.
# Where the guess is worse than a mean of its neighbours, the truth teaches instead (--filter-teacher).
set -euo pipefail
videos=$1 frames=$2 out=$3
tweenlet distill tiny "$videos" --teacher-frames "$frames" --filter-teacher --out "$out" \
  --recipe.strides 1 --recipe.synthetic 0 "${@:4}"
tweenlet models "$out/model.safetensors"
