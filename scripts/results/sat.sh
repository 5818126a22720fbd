#!/bin/sh
# Makes docs/results/sat.md: the publication's five networks at batch 512 on the default SAT, dense and sparse, and an ablation.
# Needs a built program (ENMESH, default build/bin/enmesh) and python3. Simulated figures are the same on every machine; the speed of the models is this one's.
set -eu
cd "$(dirname "$0")/../.."
exec python3 scripts/results/sat.py "${ENMESH:-build/bin/enmesh}" "${1:-docs/results/sat.md}"
