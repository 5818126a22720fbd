#!/bin/sh
# Prunes the dense networks of accuracy.sh 2:4, with and without channel permutation, retrains them with the same schedule
# and writes docs/results/asp.md. Ended runs are kept and an interrupted one goes on where it was.
#   scripts/results/asp.sh CIFAR10_FOLDER RUNS_FOLDER [SEED...]
set -eu
. "$(dirname "$0")/cifar.sh"
for seed in "$@"; do
  dense=$runs/dense-$seed
  [ -f "$dense/summary.json" ] || { echo "asp: $dense has not ended: scripts/results/accuracy.sh first" >&2; exit 2; }
  for variant in plain permuted; do
    pruned=$runs/asp-$variant-$seed
    permute=""
    [ $variant = plain ] || permute=--permute
    [ -f "$pruned.prune.json" ] || "$enmesh" prune "$dense/last.safetensors" --pattern 2:4 $permute --threads 1 \
      --out "$pruned.safetensors" --json "$pruned.prune.json"
    [ -f "$pruned.eval.json" ] || "$enmesh" eval --init "$pruned.safetensors" --data "cifar10:$data" --threads 1 \
      --json "$pruned.eval.json"
    train "asp-$variant-$seed" "$seed" --method asp --pattern 2:4 --init "$pruned.safetensors"
  done
done
python3 "$root/scripts/results/asp.py" "$runs" "$root/docs/results/asp.md"
