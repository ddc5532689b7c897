#!/usr/bin/env bash
# Does distillation help, and what does inheriting give? One teacher compressed by 91 % of its parameters; students of one
# architecture, trained for the same steps on the same samples in the same order, without a teacher and with one.
#   runs/compress.sh FOOTAGE EVALUATION OUT     e.g. runs/compress.sh my_videos/ my_clips/ compressed/
# Killed and started again it goes on where it was. What docs/compression.md and docs/log/compression.md report is from these commands on two
# cores, but that the teacher's settings changed on the way (weights/teacher.md).
set -euo pipefail
footage=$1 evaluation=$2 out=$3
export OMP_NUM_THREADS=1
mkdir -p "$out"
teacher=$out/teacher/model.safetensors
samples="--store $out/store --batch 4 --crop 128"
logging="--precision bfloat16 --log-every 25 --save-every 100"

# the teacher: ST-MFNet's branches but the flow, sized so that a CPU can teach it in an hour
cat > "$out/teacher.json" <<'JSON'
{"scales": [1.0, 0.5], "features": [64, 128, 192, 256], "kernel_hidden": 32, "kernel_size": 3, "dilation": 1, "flow": null,
 "refine": null, "grid": [16, 32], "texture": [8, 16, 24, 32], "texture_out": 8}
JSON
tweenlet train "$out/teacher.json" "$footage" --out "$out/teacher" $samples $logging \
  --steps 2300 --learning-rate 1e-3 --validate-every 250

# stage 1 and the widths
tweenlet sparsify "$teacher" "$footage" --out "$out/sparse" $samples $logging \
  --steps 300 --density 0.1 --warmup 10 --validate-every 100
for init in inherit scratch; do
  tweenlet compact "$out/sparse/model.safetensors" --out "$out/$init.safetensors" --params 210k --init $init --overwrite
done

# what other budgets would give
for budget in "--macs 10G@480p" "--ms 800@480p"; do
  tweenlet compact "$out/sparse/model.safetensors" --out "$out/other.safetensors" $budget --overwrite
done

# stage 2, two at a time: from what is inherited, three orders of the samples; from scratch, one
learning="--steps 450 --learning-rate 1e-3 --warmup 50 --validate-every 225"
{
  for seed in 0 1 2; do
    echo "train $out/inherit.safetensors $footage --out $out/truth-$seed --seed $seed"
    echo "distill $out/inherit.safetensors $footage --teacher $teacher --out $out/distilled-$seed --seed $seed"
    echo "distill $out/inherit.safetensors $footage --teacher default --out $out/from-default-$seed --seed $seed"
  done
  echo "train $out/scratch.safetensors $footage --out $out/scratch-truth --seed 0"
  echo "distill $out/scratch.safetensors $footage --teacher $teacher --out $out/scratch-distilled --seed 0"
} | sed "s|\$| $samples $logging $learning|" | xargs -P "${JOBS:-2}" -L 1 tweenlet

# all on the same frames
models=$(for name in truth distilled from-default; do for seed in 0 1 2; do echo "$out/$name-$seed/model.safetensors"; done; done)
tweenlet evaluate "$teacher" $models "$out"/scratch-{truth,distilled}/model.safetensors blend \
  --benchmark "clips:$evaluation" --subset 1/3 --out "$out/scores"
