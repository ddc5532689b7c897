#!/usr/bin/env bash
# The paper to the letter: teach ST-MFNet, compress it to ST-MFNet Mini's 91 % fewer parameters, score both on its four protocols.
#   runs/paper.sh VIMEO BVI_DVC VALIDATION BENCHMARKS OUT
#     VIMEO       vimeo_septuplet/: sequences/, sep_trainlist.txt     BVI_DVC  the folder of quintuplet folders
#     VALIDATION  videos or folders of frames that nothing is trained on
#     BENCHMARKS  a folder with ucf101, davis, snufilm and vfitex as published
# `--recipe paper`: every septuplet and quintuplet once an epoch, a new crop of 256 each time, flips and reversal only, Adamax at
# 1e-3 without decay or clipping, halved every 20 epochs. Sums are means here, which Adamax cannot tell apart; alpha is 0.1.
# OBProx-SG alone cannot be followed: its published rate on sums destroys the network (docs/paper.md, "The recipe").
# For GPUs: as many as GPUS says (all of this machine if not set). Killed and started again it goes on where it was. It takes weeks;
# CI runs it in small (NETWORK, EPOCHS, ..., as tests/test_runs.py sets them). What we do otherwise is runs/ours.sh.
set -euo pipefail
vimeo=$1 bvi=$2 validation=$3 benchmarks=$4 out=$5
gpus=${GPUS:-$(nvidia-smi --list-gpus | wc -l)}
together="${TOGETHER:-torchrun --nproc-per-node $gpus -m tweenlet}"
samples="--recipe paper --validate $validation --store $out/store ${SAMPLES:-}"
network=${NETWORK:-stmfnet} epochs=${EPOCHS:-70} prune_epochs=${PRUNE_EPOCHS:-20}

# 1. the teacher, 70 epochs in batches of 4; with the authors' checkpoint instead: tweenlet convert stmfnet.pth $out/teacher.safetensors
if [ ! -f "$out/teacher.safetensors" ]; then
  $together train "$network" "$vimeo" "$bvi" --out "$out/teacher" $samples --batch "${BATCH:-4}" --epochs "$epochs"
  cp "$out/teacher/model.safetensors" "$out/teacher.safetensors"
fi

# 2. 20 epochs of OBProx-SG, the widths, 70 epochs of distillation from scratch in batches of 2; 1.83 M parameters are ST-MFNet Mini's
$together compress "$out/teacher.safetensors" "$vimeo" "$bvi" -o "$out/compressed" --params "${PARAMS:-1.83M}" $samples \
  --batch "${STUDENT_BATCH:-2}" --prune obproxsg --density 0.1 --init scratch --alpha 0.1 \
  --sparsify.epochs "$prune_epochs" --distill.epochs "$epochs"

# 3. both on the four protocols, beside what is published
for benchmark in ${PROTOCOLS:-ucf101 davis snufilm-easy snufilm-medium snufilm-hard snufilm-extreme vfitex}; do
  tweenlet evaluate "$out/compressed/student.safetensors" "$out/teacher.safetensors" blend \
    --benchmark "$benchmark:$benchmarks/${benchmark%%-*}" --published --out "$out/scores"
done
