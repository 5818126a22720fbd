#!/bin/sh
# Feeds the ONNX importer mutated files, under the address and undefined-behaviour sanitizers:
#
#   scripts/fuzz.sh [--coverage] [RUNS]
#
# It starts from tests/fuzz/corpus and from a graph for each operator, which the target writes itself. RUNS (20000) bounds
# the work; more of the corpus grows under build-fuzz/found. --coverage counts the lines of src/onnx that the run reaches,
# beginning with an empty build-fuzz/found-coverage, and prints them by file (build-fuzz/coverage.txt: line by line).
# Exit code 77 where clang with libFuzzer cannot be had (Debian: clang and libclang-rt-14-dev; llvm for --coverage).
set -eu
cd "$(dirname "$0")/.."

target=import_fuzz
found=build-fuzz/found
if [ "${1:-}" = --coverage ]; then
  target=import_fuzz_coverage
  found=build-fuzz/found-coverage
  shift
fi
runs=${1:-20000}
jobs=${ENMESH_JOBS:-$(nproc)}
probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
printf 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }\n' >"$probe/probe.cpp"
if ! clang++ -fsanitize=fuzzer,address "$probe/probe.cpp" -o "$probe/probe" >/dev/null 2>&1; then
  echo "fuzz: skipped: clang++ with libFuzzer is missing (Debian: apt-get install clang libclang-rt-14-dev)"
  exit 77
fi
if [ $target = import_fuzz_coverage ]; then
  # The tools of clang's own version: counts of another one cannot be read.
  profdata=$(clang++ -print-prog-name=llvm-profdata)
  cov=$(clang++ -print-prog-name=llvm-cov)
  if ! command -v "$profdata" >/dev/null 2>&1 || ! command -v "$cov" >/dev/null 2>&1; then
    echo "fuzz: skipped: llvm-profdata and llvm-cov are missing (Debian: apt-get install llvm)"
    exit 77
  fi
  rm -rf $found
  LLVM_PROFILE_FILE=build-fuzz/coverage.profraw
  export LLVM_PROFILE_FILE
fi

launcher=""
if command -v ccache >/dev/null 2>&1; then launcher=-DCMAKE_CXX_COMPILER_LAUNCHER=ccache; fi
cmake -S tests/fuzz -B build-fuzz -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=None $launcher >/dev/null
cmake --build build-fuzz --parallel "$jobs" --target $target
rm -rf build-fuzz/seeds
mkdir -p $found build-fuzz/seeds
build-fuzz/$target --seeds=build-fuzz/seeds
# Seeded and bounded in inputs, not in time: the same inputs at each call with an empty build-fuzz/found. No input takes
# seconds: one that does is a find.
build-fuzz/$target -runs="$runs" -seed=1 -max_len=16384 -rss_limit_mb=1024 -timeout=20 -print_final_stats=1 \
  -artifact_prefix=build-fuzz/ $found build-fuzz/seeds tests/fuzz/corpus >build-fuzz/log 2>&1 || {
  tail -n 60 build-fuzz/log
  exit 1
}
grep -E 'number_of_executed|peak_rss|^#.*DONE' build-fuzz/log
if [ $target = import_fuzz_coverage ]; then
  "$profdata" merge -o build-fuzz/coverage.profdata build-fuzz/coverage.profraw
  "$cov" show build-fuzz/$target -instr-profile=build-fuzz/coverage.profdata src/onnx >build-fuzz/coverage.txt
  echo "lines of src/onnx, and how many of them no input reached:"
  "$cov" report build-fuzz/$target -instr-profile=build-fuzz/coverage.profdata src/onnx |
    awk 'NF == 13 { printf "%-24s %6s %6s %8s\n", $1, $8, $9, $10 }'
fi
