#!/bin/sh
# fresh_machine_test.sh PATH/fresh_machine.sh: what it says and returns where it makes no machine.
set -eu
script=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

expect() { # CODE PATTERN ARGUMENT...: the code it returns, one line (or a text, for --help) with PATTERN in it
  expected=$1
  pattern=$2
  shift 2
  code=0
  sh "$script" "$@" >"$work/output" 2>&1 || code=$?
  if [ "$code" != "$expected" ] || ! grep -q -e "$pattern" "$work/output"; then
    echo "fresh_machine.sh $*: code $code, wanted $expected and a line with '$pattern'; it said:"
    cat "$work/output"
    exit 1
  fi
  case $* in
  --help) ;;
  *) [ "$(wc -l <"$work/output")" = 1 ] || {
    echo "fresh_machine.sh $*: more than one line:"
    cat "$work/output"
    exit 1
  } ;;
  esac
}

expect 0 '^examples:' --help
expect 2 'unknown option: --quik' --quik
expect 2 'unknown option: --quik' --keep --quik
expect 2 'exclude each other' --quick --demo

# Another user than root, whoever runs this test.
mkdir "$work/bin"
printf '#!/bin/sh\necho 1000\n' >"$work/bin/id"
chmod +x "$work/bin/id"
PATH=$work/bin:$PATH
expect 77 'skipped: only root' --quick
