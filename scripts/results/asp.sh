#!/bin/sh
# Prunes the dense networks of accuracy.sh 2:4, with and without channel permutation, retrains them with the same schedule
# and writes docs/results/asp.md. Ended runs are kept and an interrupted one goes on where it was.
#   scripts/results/asp.sh CIFAR10_FOLDER RUNS_FOLDER [SEED...]
set -eu
[ $# -ge 2 ] || { sed -n 2,4p "$0" >&2; exit 2; }
data=$1 runs=$2
shift 2
[ $# -gt 0 ] || set -- 1 2 3
root=$(cd "$(dirname "$0")/../.." && pwd)
enmesh=$root/build/bin/enmesh
for seed in "$@"; do
  dense=$runs/dense-$seed
  [ -f "$dense/summary.json" ] || { echo "asp: $dense has not ended: scripts/results/accuracy.sh first" >&2; exit 2; }
  for variant in plain permuted; do
    name=$runs/asp-$variant-$seed
    permute=""
    [ $variant = plain ] || permute=--permute
    [ -f "$name.prune.json" ] || "$enmesh" prune "$dense/last.safetensors" --pattern 2:4 $permute --threads 1 \
      --out "$name.safetensors" --json "$name.prune.json"
    [ -f "$name.eval.json" ] || "$enmesh" eval --init "$name.safetensors" --data "cifar10:$data" --threads 1 --json "$name.eval.json"
    [ -f "$name/summary.json" ] || "$enmesh" train --model resnet9 --width 0.375 --data "cifar10:$data" --method asp \
      --pattern 2:4 --init "$name.safetensors" --epochs 10 --batch 64 --lr 0.05 --nesterov --schedule one-cycle \
      --label-smoothing 0.1 --augment crop=2,flip --seed "$seed" --threads 1 --plan cached --out "$name" --resume
  done
done
python3 "$root/scripts/results/asp.py" "$runs" "$root/docs/results/asp.md"
