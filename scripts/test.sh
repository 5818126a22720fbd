#!/bin/sh
# Builds what is not built and runs every test, the kernel tests again for each smaller instruction set than this processor
# has, those of base and kernels under the address and undefined-behaviour sanitizers, and, where clang has libFuzzer, feeds
# the ONNX importer mutated files. ENMESH_SANITIZE_TESTS=1 puts all core tests (all but those of the
# program) under the sanitizers: a second build, as long as the first one.
# ENMESH_JOBS: parallel compilers and tests (all cores by default).
set -eu
cd "$(dirname "$0")/.."

jobs=${ENMESH_JOBS:-$(nproc)}
# Several tests share the cores: a thread that waits must not spin.
export OMP_WAIT_POLICY=passive
scripts/install-deps.sh --tests

run_tests() { # BUILD_FOLDER CTEST_OPTIONS...: prints failures and the closing lines
  folder=$1
  shift
  log="$folder/ctest.log"
  if ctest --test-dir "$folder" --parallel "$jobs" --output-on-failure --no-tests=error "$@" >"$log" 2>&1; then
    tail -n 12 "$log"
    grep -h -A1 -e ': Skipped$' -e '^skipped:' "$folder/Testing/Temporary/LastTest.log" | grep -v -e ': Skipped$' -e '^--' -e '^<end of output>' || true
  else
    grep -v ' Passed ' "$log" | tail -n 400
    exit 1
  fi
}

# ONNX graphs are compared with ONNX Runtime where it can be had; those tests skip otherwise, with a word.
if [ ! -x .venv-onnx/bin/python ] && command -v python3 >/dev/null 2>&1; then
  echo "== virtual environment with onnx and onnxruntime"
  if ! { python3 -m venv .venv-onnx && .venv-onnx/bin/pip install --quiet numpy onnx onnxruntime; }; then
    echo "onnx and onnxruntime cannot be had: the comparison with ONNX Runtime is skipped"
    rm -rf .venv-onnx
  fi
fi

echo "== release build, all tests"
cuda=OFF # the CUDA benchmark: compiled where nvcc is, run where a GPU is
if command -v nvcc >/dev/null 2>&1; then cuda=ON; fi
cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DENMESH_TESTS=ON -DENMESH_CUDA=$cuda
cmake --build build --parallel "$jobs"
run_tests build

# The tests above ran with all that this processor has; here with less of it.
lower=portable
if grep -q -m 1 avx512bw /proc/cpuinfo 2>/dev/null; then lower="portable avx2"; fi
for isa in $lower; do
  echo "== kernel tests with ENMESH_ISA=$isa"
  ENMESH_ISA=$isa run_tests build -L kernels
done

echo "== fuzzing the ONNX importer, a bounded number of inputs"
code=0
scripts/fuzz.sh 20000 || code=$?
[ "$code" = 0 ] || [ "$code" = 77 ] || exit "$code"

sanitized=foundation
labels=foundation
if [ "${ENMESH_SANITIZE_TESTS:-0}" = 1 ]; then
  sanitized=core
  labels='core|kernels'
fi
echo "== address and undefined-behaviour sanitizers, $sanitized tests"
cmake -S . -B build-sanitize -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1" \
  -DENMESH_TESTS=ON -DENMESH_SANITIZE=address,undefined
cmake --build build-sanitize --parallel "$jobs" --target "${sanitized}_tests"
ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 run_tests build-sanitize -L "$labels"

echo "all tests passed"
