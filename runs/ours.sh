#!/usr/bin/env bash
# runs/paper.sh with all that we do otherwise, on purpose; for GPUs, not run here. The same places, the same network, the same budget.
#   runs/ours.sh VIMEO BVI_DVC VALIDATION BENCHMARKS OUT
# Samples: by how much they have to teach, decoded once, transposed and recoloured too. Training: AdamW, half a cosine, averaged weights,
# clipped gradients, bfloat16, norms frozen at the end. Compression: what costs the least loss goes, the student starts from what is left.
set -euo pipefail
vimeo=$1 bvi=$2 validation=$3 benchmarks=$4 out=$5
gpus=${GPUS:-$(nvidia-smi --list-gpus | wc -l)}
together="torchrun --nproc-per-node $gpus -m tweenlet"
samples="--batch $((4 * gpus)) --crop 256 --validate $validation --store $out/store --recipe.crop 256 --recipe.samples 82212 \
  --recipe.crops-per-window 1 --recipe.strides 1 --recipe.synthetic 0"

if [ ! -f "$out/teacher.safetensors" ]; then
  $together train stmfnet "$vimeo" "$bvi" --out "$out/teacher" $samples --epochs 70 --precision bfloat16
  cp "$out/teacher/model.safetensors" "$out/teacher.safetensors"
fi

$together compress "$out/teacher.safetensors" "$vimeo" "$bvi" -o "$out/compressed" --params 1.83M $samples \
  --prune taylor --distill.epochs 70 --distill.precision bfloat16

for benchmark in ucf101 davis snufilm-easy snufilm-medium snufilm-hard snufilm-extreme vfitex; do
  tweenlet evaluate "$out/compressed/student.safetensors" "$out/teacher.safetensors" blend dis minterpolate \
    --benchmark "$benchmark:$benchmarks/${benchmark%%-*}" --published --out "$out/scores"
done
