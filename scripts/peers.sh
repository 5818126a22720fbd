#!/bin/sh
# Makes .venv-peers with what enmesh is measured and checked against: PyTorch for the CPU. Nothing else needs it.
set -eu
cd "$(dirname "$0")/.."

if ! command -v python3 >/dev/null 2>&1 || ! python3 -c 'import ensurepip' 2>/dev/null; then
  echo "peers: python3 with venv is needed (Debian: apt-get install python3-venv)" >&2
  exit 1
fi
[ -x .venv-peers/bin/python ] || python3 -m venv .venv-peers
.venv-peers/bin/pip install --quiet --upgrade pip
.venv-peers/bin/pip install --quiet numpy torch ${ENMESH_TORCH_INDEX:+--index-url "$ENMESH_TORCH_INDEX"}
.venv-peers/bin/python -c 'import torch; print("peers: PyTorch", torch.__version__, "with", torch.get_num_threads(), "threads")'
