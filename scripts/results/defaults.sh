#!/bin/sh
# Trains every network of the zoo with every optional setting at its default and writes the tables of docs/train.md: CIFAR-10 for
# the CNNs, the embedded digits for all networks, methods, patterns and dtypes. Runs that have ended are kept and an interrupted
# one goes on, so that the script can be called again until it is through; the tables say what has not run.
#   scripts/results/defaults.sh CIFAR10_FOLDER RUNS_FOLDER [--only TEXT]...
# --only runs those whose name holds TEXT ("cifar10-resnet9"); the tables are written from all that have ended.
# Needs a built program (ENMESH, default build/bin/enmesh) and python3. One thread (THREADS) a run.
set -eu
[ $# -ge 2 ] || { sed -n '2,/^set/p' "$0" | sed '$d' >&2; exit 2; }
cd "$(dirname "$0")/../.."
exec python3 scripts/results/defaults.py "${ENMESH:-build/bin/enmesh}" docs/train.md "$@"
