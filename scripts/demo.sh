#!/bin/sh
# Installs what is missing, builds, and trains the same CNN on the embedded digits dense and with BDWP 2:8.
# ENMESH_JOBS: parallel compilers (all cores by default).
set -eu
cd "$(dirname "$0")/.."

jobs=${ENMESH_JOBS:-$(nproc)}
scripts/install-deps.sh
cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release
cmake --build build --parallel "$jobs" --target enmesh_program
build/bin/enmesh demo --out runs/demo "$@"
echo "summary: runs/demo/summary.json"
