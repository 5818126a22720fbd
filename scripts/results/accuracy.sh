#!/bin/sh
# Trains the runs of docs/results/accuracy.md, one after the other, and writes the page. Ended runs are kept and an
# interrupted one goes on where it was, so the script can be called again until it is through.
#   scripts/results/accuracy.sh CIFAR10_FOLDER RUNS_FOLDER [SEED...]
set -eu
. "$(dirname "$0")/cifar.sh"
mkdir -p "$runs"
for seed in "$@"; do
  train "dense-$seed" "$seed" --method dense
  for method in bdwp@2:8 sr-ste@2:8 bdwp@2:4; do
    train "$(echo "$method" | tr -d ':@')-$seed" "$seed" --method "${method%@*}" --pattern "${method#*@}"
  done
done
python3 "$root/scripts/results/accuracy.py" "$runs" "$root/docs/results/accuracy.md"
