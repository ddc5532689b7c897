#!/usr/bin/env bash
# The recipe of a default network: RIFE 4.25, pruned, timed by four frames, taught by itself; then scored beside the classical
# methods. As it stands it has not been run from end to end.
#   runs/default.sh FLOWNET_PKL FOOTAGE EVALUATION OUT
#   e.g. runs/default.sh flownet.pkl ../shared/data/train ../shared/data/eval ../run
# Killed and started again it goes on where it was.
set -euo pipefail
published=$1 footage=$2 evaluation=$3 out=$4
mkdir -p "$out"
rife=$out/rife.safetensors start=$out/start.safetensors
samples="--store $out/store --recipe.crop 288"

# the teacher, and what is left of it: no level at the frame's own size, the acceleration of the neighbouring pairs, a head
[ -e "$rife" ] || tweenlet convert "$published" "$rife"
[ -e "$start" ] || tweenlet prune "$rife" "$footage" --out "$start" --params 4.8M --method taylor --four-frames --head 32 \
  $samples --batch 4 --crop 128

# the truth teaches what frames look like, the teacher where things are
tweenlet distill "$start" "$footage" --teacher "$rife" --timed --out "$out/student" --flow-weight 0.02 --teacher-weight 0 --alpha 1 \
  --loss.laplacian 1 --loss.perceptual 0.02 --loss.detail 0.004 --steps 5000 --learning-rate 1e-4 --precision bfloat16 \
  $samples --batch 4 --crop 256

tweenlet evaluate "$out/student/model.safetensors" "$rife" blend dis minterpolate --benchmark "clips:$evaluation" --out "$out/scores"
