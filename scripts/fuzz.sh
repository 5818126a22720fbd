#!/bin/sh
# Feeds the ONNX importer mutated files, starting from tests/fuzz/corpus, under the address and undefined-behaviour
# sanitizers. RUNS (first argument) bounds the work; more of the corpus grows under build-fuzz/found.
# Exit code 77 where clang with libFuzzer cannot be had (Debian: clang and libclang-rt-14-dev).
set -eu
cd "$(dirname "$0")/.."

runs=${1:-20000}
jobs=${ENMESH_JOBS:-$(nproc)}
probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
printf 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }\n' >"$probe/probe.cpp"
if ! clang++ -fsanitize=fuzzer,address "$probe/probe.cpp" -o "$probe/probe" >/dev/null 2>&1; then
  echo "fuzz: skipped: clang++ with libFuzzer is missing (Debian: apt-get install clang libclang-rt-14-dev)"
  exit 77
fi

launcher=""
if command -v ccache >/dev/null 2>&1; then launcher=-DCMAKE_CXX_COMPILER_LAUNCHER=ccache; fi
cmake -S tests/fuzz -B build-fuzz -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=None $launcher >/dev/null
cmake --build build-fuzz --parallel "$jobs"
mkdir -p build-fuzz/found
# Seeded and bounded in inputs, not in time: the same inputs at each call with an empty build-fuzz/found.
build-fuzz/import_fuzz -runs="$runs" -seed=1 -max_len=16384 -rss_limit_mb=1024 -print_final_stats=1 \
  -artifact_prefix=build-fuzz/ build-fuzz/found tests/fuzz/corpus >build-fuzz/log 2>&1 || {
  tail -n 60 build-fuzz/log
  exit 1
}
grep -E 'number_of_executed|peak_rss|^#.*DONE' build-fuzz/log
