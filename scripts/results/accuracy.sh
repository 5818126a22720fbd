#!/bin/sh
# Trains the runs of docs/results/accuracy.md, one after the other, and writes the page. Ended runs are kept and an
# interrupted one goes on where it was, so the script can be called again until it is through.
#   scripts/results/accuracy.sh CIFAR10_FOLDER RUNS_FOLDER [SEED...]
set -eu
[ $# -ge 2 ] || { sed -n 2,4p "$0" >&2; exit 2; }
data=$1 runs=$2
shift 2
[ $# -gt 0 ] || set -- 1 2 3
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$runs"
for seed in "$@"; do
  for method in dense bdwp@2:8 sr-ste@2:8 bdwp@2:4; do
    name=$(echo "$method-$seed" | tr -d ':@')
    [ ! -f "$runs/$name/summary.json" ] || continue
    pattern=${method#*@}
    [ "$pattern" != "$method" ] || pattern=""
    "$root/build/bin/enmesh" train --model resnet9 --width 0.375 --data "cifar10:$data" --method "${method%@*}" \
      ${pattern:+--pattern "$pattern"} --epochs 10 --batch 64 --lr 0.05 --nesterov --schedule one-cycle \
      --label-smoothing 0.1 --augment crop=2,flip --seed "$seed" --threads 1 --plan cached --out "$runs/$name" --resume
  done
done
python3 "$root/scripts/results/accuracy.py" "$runs" "$root/docs/results/accuracy.md"
