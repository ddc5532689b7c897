#!/usr/bin/env bash
# The paper at full size: teach ST-MFNet, compress it to ST-MFNet Mini's 91 % fewer parameters, score both.
#   runs/paper.sh VIMEO BVI_DVC VALIDATION BENCHMARK OUT
#     VIMEO       vimeo_septuplet/: sequences/, sep_trainlist.txt     BVI_DVC  the folder of quintuplet folders
#     VALIDATION  videos or folders of frames that nothing is trained on
#     BENCHMARK   a folder of clips to score on, e.g. DAVIS
# For GPUs: as many as GPUS says (all of this machine if not set). Killed and started again it goes on where it was.
# Settings are those that the official code names, where it names them and they can work (docs/paper.md, "The recipe").
# It has not been run: that takes weeks of GPU time. runs/smoke.sh runs the same commands in small, in CI;
# runs/compress.sh is what was run for the README.
set -euo pipefail
vimeo=$1 bvi=$2 validation=$3 benchmark=$4 out=$5
gpus=${GPUS:-$(nvidia-smi --list-gpus | wc -l)}
together="torchrun --nproc-per-node $gpus -m tweenlet"
samples="--crop 256 --batch $((4 * gpus)) --validate $validation --store $out/store --recipe.crop 256 \
  --recipe.samples 82212 --recipe.crops-per-window 1 --recipe.strides 1 --recipe.synthetic 0"
epoch=$((82212 / (4 * gpus)))

# 1. the teacher, 70 epochs; with the authors' checkpoint instead: tweenlet convert stmfnet.pth $out/teacher.safetensors
if [ ! -f "$out/teacher.safetensors" ]; then
  $together train stmfnet "$vimeo" "$bvi" --out "$out/teacher" $samples \
    --steps $((70 * epoch)) --optimiser adamax --learning-rate 1e-3 --precision bfloat16
  cp "$out/teacher/model.safetensors" "$out/teacher.safetensors"
fi

# 2. 20 epochs of OBProx-SG, the widths, 70 epochs of distillation; 1.83 M parameters are ST-MFNet Mini's
$together compress "$out/teacher.safetensors" "$vimeo" "$bvi" -o "$out/compressed" --params 1.83M $samples \
  --prune obproxsg --density 0.1 --init scratch --benchmark "clips:$benchmark" \
  --sparsify.steps $((20 * epoch)) --sparsify.precision bfloat16 \
  --distill.steps $((70 * epoch)) --distill.optimiser adamax --distill.learning-rate 1e-3 --distill.precision bfloat16

# 3. both beside classical methods
tweenlet evaluate "$out/compressed/student.safetensors" "$out/teacher.safetensors" blend dis minterpolate \
  --benchmark "clips:$benchmark" --out "$out/scores"
