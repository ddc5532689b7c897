#!/usr/bin/env bash
# The recipe of the default weights: train, then score them beside the classical methods. The shipped weights came to it on the
# way (weights/default.md); as it stands it has been run for a few steps only. Their 8,300 steps took 85 minutes on one core.
#   runs/default.sh FOOTAGE EVALUATION OUT     e.g. runs/default.sh my_videos/ my_clips/ run/
# Killed and started again it goes on where it was.
set -euo pipefail
footage=$1 evaluation=$2 out=$3
tweenlet train small "$footage" --out "$out" --steps 8300 --batch 4 --crop 192 --margin 24 --learning-rate 4e-4 \
  --precision bfloat16 --loss.psnr 1 --loss.laplacian 5
tweenlet evaluate "$out/model.safetensors" blend dis minterpolate --benchmark "clips:$evaluation" \
  --out "$out/scores"
