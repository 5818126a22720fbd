#!/bin/sh
# check_graphs.sh PYTHON FORWARD WORK [OPTIONS of check_graphs.py]: with the virtual environment of scripts/test.sh where there is one.
set -eu
python=$1 forward=$2 work=$3
shift 3
[ -x "${ENMESH_ONNX_PYTHON:-}" ] && python=$ENMESH_ONNX_PYTHON
[ -x "$VENV/bin/python" ] && python=$VENV/bin/python
if ! "$python" -c 'import numpy, onnx, onnxruntime' 2>/dev/null; then
  echo "skipped: onnx, onnxruntime and numpy are not there (scripts/test.sh makes .venv-onnx with them)"
  exit 77
fi
exec "$python" "$(dirname "$0")/check_graphs.py" "$forward" "$work" "$@"
