#!/bin/sh
# The same sources and parameters through Yosys' reader and its checks: no warning, no loop, no undriven or doubly driven net.
set -eu
cd "$1"
command -v yosys >/dev/null 2>&1 || { echo "skipped: Yosys is not installed, so that rtl/ is not read by it"; exit 77; }

checked=0
lint() { # TOP [-GName=value...]
  top=$1
  shift
  parameters=
  for pair in "$@"; do
    pair=${pair#-G}
    parameters="$parameters -chparam ${pair%%=*} ${pair#*=}"
  done
  yosys -q -e '.' -p "read_verilog -sv $(tr '\n' ' ' <rtl/sat.f); hierarchy -check -top $top $parameters; proc; check -assert" ||
    { echo "yosys: $top $*"; exit 1; }
  checked=$((checked + 1))
}
. tests/rtl/tops.sh
echo "$checked elaborations without a warning"
[ "$checked" -ge 10 ]
