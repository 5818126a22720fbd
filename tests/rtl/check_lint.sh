#!/bin/sh
# Every module under rtl/ through Verilator's lint, all warnings fatal, with several sets of parameters.
set -eu
cd "$1"
command -v verilator >/dev/null 2>&1 || { echo "skipped: Verilator is not installed, so that rtl/ is not linted"; exit 77; }

checked=0
lint() { # TOP [-GName=value...]
  top=$1
  shift
  verilator --lint-only -Wall rtl/lint.vlt -f rtl/sat.f --top-module "$top" "$@" || { echo "lint: $top $*"; exit 1; }
  checked=$((checked + 1))
}
. tests/rtl/tops.sh
echo "$checked elaborations without a warning"
[ "$checked" -ge 10 ]
