# What accuracy.sh and asp.sh share, read by them: arguments CIFAR10_FOLDER RUNS_FOLDER [SEED...] and the one schedule that
# all of their runs have.
[ $# -ge 2 ] || { sed -n '2,/^set/p' "$0" | sed '$d' >&2; exit 2; }
data=$1 runs=$2
shift 2
[ $# -gt 0 ] || set -- 1 2 3
root=$(cd "$(dirname "$0")/../.." && pwd)
enmesh=$root/build/bin/enmesh

train() { # NAME SEED OPTIONS...: ended runs are kept, an interrupted one goes on
  name=$1 seed=$2
  shift 2
  [ -f "$runs/$name/summary.json" ] || "$enmesh" train --model resnet9 --width 0.375 --data "cifar10:$data" "$@" \
    --epochs 10 --batch 64 --lr 0.05 --nesterov --schedule one-cycle --label-smoothing 0.1 --augment crop=2,flip \
    --seed "$seed" --threads 1 --plan cached --out "$runs/$name" --resume
}
