#!/bin/sh
# Compares two checkouts whose programs are built (build/bin/enmesh): the same training runs must give the same checkpoints byte for
# byte, the same simulations the same JSON. Then lists the lines of tests that only one of the two has.
#   scripts/compare_revisions.sh OLD NEW            # two folders
#   scripts/compare_revisions.sh --tests OLD NEW    # only the lines of tests
#   scripts/compare_revisions.sh --time OLD NEW     # also times a training step of both in turn
# Exit status: 0 equal, 1 something differs (lines of tests alone do not count), 2 wrong call.
set -eu

usage() {
  sed -n '2,7s/^# \{0,1\}//p' "$0"
}

wrong() {
  echo "compare_revisions: $1" >&2
  exit 2
}

runs=1
timing=0
while [ $# -gt 0 ]; do
  case "$1" in
    --tests) runs=0 ;;
    --time) timing=1 ;;
    --help | -h)
      usage
      exit 0
      ;;
    -*) wrong "unknown option $1 (see --help)" ;;
    *) break ;;
  esac
  shift
done
[ $# = 2 ] || wrong "two folders are needed, $# given (see --help)"
for folder in "$1" "$2"; do
  [ -d "$folder/tests" ] || wrong "$folder is no checkout: it has no tests folder"
  [ "$runs" = 0 ] || [ -x "$folder/build/bin/enmesh" ] || wrong "$folder/build/bin/enmesh is missing: build it first"
done
old=$(cd "$1" && pwd)
new=$(cd "$2" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export ENMESH_CACHE_DIR="$work/cache" # a user's measured kernels must not decide

differences=0
equal() { # NAME FILE FILE
  if cmp -s "$2" "$3"; then
    echo "equal    $1"
  else
    echo "DIFFERS  $1"
    differences=$((differences + 1))
  fi
}

both() { # NAME FILE_THAT_IS_COMPARED ARGUMENTS...: @ in the arguments is the output folder
  name=$1
  file=$2
  shift 2
  for side in old new; do
    rm -rf "$work/$side"
    mkdir "$work/$side"
    eval "folder=\$$side"
    (cd "$work/$side" && "$folder/build/bin/enmesh" "$@" >"$work/$side.log" 2>&1) || {
      echo "FAILED   $name ($folder)"
      tail -n 3 "$work/$side.log"
      differences=$((differences + 1))
      return 0
    }
  done
  equal "$name" "$work/old/$file" "$work/new/$file"
}

if [ "$runs" = 1 ]; then
  for run in "digits_cnn dense 2:8 f32" "digits_cnn bdwp 2:8 f32" "lenet5 sr-ste 2:4 f32" "mlp bdwp+mvue 2:8 f32" "digits_cnn bdwp 2:8 bf16" \
    "digits_cnn sdgp 2:4 f32"; do
    # shellcheck disable=SC2086
    set -- $run
    both "train $run" out/last.safetensors train --data digits --model "$1" --method "$2" --pattern "$3" --dtype "$4" --epochs 1 \
      --optimizer sgd --lr 0.02 --momentum 0.9 --nesterov --weight-decay 5e-4 --warmup 0 --clip 0 --seed 3 --threads 1 \
      --plan default --out out
  done
  for machine in sat systolic stc-a100 stc-h100 stc-h200; do
    for method in dense bdwp; do
      both "simulate $machine $method" report.json simulate --model resnet18 --batch 32 --method "$method" --pattern 2:4 \
        --accel "$machine" --json report.json
    done
  done
  both "simulate sat, vision transformer" report.json simulate --model vit_small --batch 8 --method bdwp --pattern 2:8 --accel sat \
    --json report.json
fi

if [ "$timing" = 1 ]; then
  for run in "dense 2:8 f32" "bdwp 2:8 f32" "bdwp 2:8 bf16"; do
    # shellcheck disable=SC2086
    set -- $run
    for round in 1 2 3; do
      for side in old new; do
        eval "folder=\$$side"
        "$folder/build/bin/enmesh" bench step --model resnet18 --batch 32 --compare "$1$([ "$1" = dense ] || echo "@$2")" --dtype "$3" \
          --plan default --json - >"$work/step.json"
        printf '%s, round %s, %s: ' "$run" "$round" "$side"
        sed -n 's/.*"median": *\([0-9.e-]*\).*/\1 s/p' "$work/step.json" | head -n 1
      done
    done
  done
fi

# What tests say: no include lines, comments or blank lines. Where a file lies does not matter, its name does.
test_files() {
  find "$1/tests" -name '*.cpp' -o -name '*.hpp' | sort
}
test_files "$old" | sed 's#.*/##' | sort -u >"$work/old_names"
test_files "$new" | sed 's#.*/##' | sort -u >"$work/new_names"
test_lines() { # FOLDER NAMES: the lines of its files that bear one of the names
  test_files "$1" | grep -F -f "$2" | xargs cat | sed -e 's/^[[:space:]]*//' | grep -v -e '^#include' -e '^//' -e '^$' | sort
}
comm -12 "$work/old_names" "$work/new_names" | sed 's#^#/#' >"$work/both_names"
test_lines "$old" "$work/both_names" >"$work/old_lines"
test_lines "$new" "$work/both_names" >"$work/new_lines"
echo
echo "files of tests that only the old one has: $(comm -23 "$work/old_names" "$work/new_names" | tr '\n' ' ')"
echo "files of tests that only the new one has: $(comm -13 "$work/old_names" "$work/new_names" | tr '\n' ' ')"
echo "lines of tests that only the old one has, in files that both have:"
comm -23 "$work/old_lines" "$work/new_lines" | sed 's/^/  - /'
echo "lines of tests that only the new one has, in files that both have:"
comm -13 "$work/old_lines" "$work/new_lines" | sed 's/^/  + /'
echo
echo "$differences differences in what the programs write"
[ "$differences" = 0 ]
