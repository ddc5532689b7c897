#!/usr/bin/env bash
# runs/paper.sh in small: the same stages with a tiny network on four small clips, a minute on a CPU (scripts/check --all).
#   runs/smoke.sh OUT
# Killed and started again it goes on where it was.
set -euo pipefail
clips=$(dirname "$0")/../tests/assets out=$1
samples="--batch 2 --crop 64 --recipe.samples 40 --recipe.validation 8 --recipe.crop 64 --recipe.synthetic 0"
stage="--warmup 2 --log-every 2 --validate-every 20 --save-every 10"

tweenlet train tiny "$clips" --out "$out/teacher" --steps 20 --learning-rate 1e-3 $stage $samples
teacher=$out/teacher/model.safetensors
samples="$samples --store $out/teacher/store"

# stage 1, the widths, stage 2: each a command of its own
tweenlet sparsify "$teacher" "$clips" --out "$out/sparse" --density 0.2 --steps 10 $stage $samples
tweenlet compact "$out/sparse/model.safetensors" --out "$out/start.safetensors" --macs 50%@144x96 --size 144x96 --overwrite
tweenlet distill "$out/start.safetensors" "$clips" --teacher "$teacher" --out "$out/student" --steps 10 $stage $samples

# and all in one
tweenlet compress "$teacher" "$clips" -o "$out/compressed" --params 80k --prune obproxsg --density 0.2 $samples \
  --sparsify.steps 10 --sparsify.log-every 1 --distill.steps 10 --distill.log-every 1

tweenlet evaluate "$out/compressed/student.safetensors" "$teacher" blend --benchmark "clips:$clips" --subset 1/10
