#!/usr/bin/env bash
# Sparse Tensor Cores in one command: builds a folder that runs on any machine with NVIDIA's driver, and on a machine with
# a GPU measures 2:4 products, dense ones and the selection of weights beside what the model predicts (docs/stc.md).
set -euo pipefail

usage() {
  cat <<'END'
Usage: measure.sh [--out FOLDER] [--seconds S] [--plan FILE] [--check]
         compares, then measures; writes FOLDER/stc.json and FOLDER/stc.md (default: stc-results).
         Runs the folder it lies in. Run from the sources, it builds that folder first, in build/stc, and again when
         a source is newer.
       measure.sh --build FOLDER [--libraries copy|none] [--cusparselt DIR|none] [--fetch-cusparselt]
         builds the folder; needs nvcc 12.5 or later, a C++20 compiler, fmt and nlohmann-json, no GPU.

  --seconds S         stops taking on products after S seconds (default 400); what is left out is listed. The run ends
                      by force 60 seconds later; results are written after every product.
  --plan FILE         what to measure (default: plan.json of the folder; stc_plan makes others)
  --check             compares results only, times nothing
  --libraries none    leaves cuBLASLt and cuSPARSELt out of the folder. Where it runs, measure.sh looks for them
  --cusparselt DIR    a folder with include/cusparseLt.h and lib/libcusparseLt.so.0 (default: looked for; none: not used)
  --fetch-cusparselt  gets it by pip if it is not found; a failure ends the build

Exit status: 0 done; 1 a result was wrong, or the work failed; 2 the request was wrong; 77 no GPU here;
124 or 137: ended by force.
END
}

here=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" >/dev/null && pwd)

refuse() {
  echo "measure.sh: error: $1" >&2
  exit 2
}
fail() {
  echo "measure.sh: error: $1" >&2
  exit 1
}

# Folders in which NVIDIA's libraries may lie, one a line.
library_folders() {
  local root
  for root in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda /usr/local/cuda-*; do
    if [ -n "$root" ]; then printf '%s\n' "$root/lib64" "$root/targets/x86_64-linux/lib" "$root/lib"; fi
  done
  printf '%s\n' /usr/lib/x86_64-linux-gnu /usr/lib64
  python_folders | while read -r root; do printf '%s\n' "$root/lib"; done
}

# Folders of the wheels that hold CUDA's libraries: .../nvidia/cu13, .../nvidia/cublas, .../nvidia/cusparselt.
python_folders() {
  command -v python3 >/dev/null 2>&1 || return 0
  python3 -c 'import nvidia, os
for path in nvidia.__path__:
    for name in sorted(os.listdir(path)):
        print(os.path.join(path, name))' 2>/dev/null || true
}

find_nvcc() {
  local candidate
  for candidate in "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" "${CUDA_PATH:+$CUDA_PATH/bin/nvcc}" \
    "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc; do
    if [ -f "$candidate" ] && [ -x "$candidate" ]; then
      readlink -f "$candidate"
      return 0
    fi
  done
  return 1
}

# ---- building ----------------------------------------------------------------------------------------------------------

# Prints the folder that holds include/cusparseLt.h and a library, or nothing.
find_cusparselt() {
  local folder
  { printf '%s\n' "$1"; python_folders; } | while read -r folder; do
    if [ -f "$folder/include/cusparseLt.h" ] && cusparselt_library "$folder" >/dev/null; then
      echo "$folder"
      break
    fi
  done || true
}

cusparselt_library() { # FOLDER
  local file
  for file in "$1/lib/libcusparseLt.so.0" "$1/lib64/libcusparseLt.so.0" "$1/targets/x86_64-linux/lib/libcusparseLt.so.0"; do
    if [ -f "$file" ]; then
      echo "$file"
      return 0
    fi
  done
  return 1
}

fetch_cusparselt() { # TARGET MAJOR: prints the folder
  local folder said
  if ! said=$(python3 -m pip install --disable-pip-version-check --quiet --no-deps --target "$1" \
    "nvidia-cusparselt-cu$2" 2>&1); then
    fail "cuSPARSELt is not fetched: $(printf '%s\n' "$said" | sed '/^[[:space:]]*$/d' | tail -n 1)"
  fi
  for folder in "$1"/nvidia/*; do
    if [ -f "$folder/include/cusparseLt.h" ] && cusparselt_library "$folder" >/dev/null; then
      echo "$folder"
      return 0
    fi
  done
  fail "the fetched cuSPARSELt holds no include/cusparseLt.h and lib/libcusparseLt.so.0"
}

# Runs the command with its output in LOG; a failure leaves LOG.failed.
start() { # LOG COMMAND...
  local log=$1
  shift
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
  ("$@" >"$log" 2>&1 || touch "$log.failed") &
}

finish_all() {
  wait
  local log
  for log in "$work"/*.failed; do
    [ -e "$log" ] || return 0
    cat "${log%.failed}" >&2
    fail "$(basename "${log%.log.failed}") does not compile"
  done
}

# What a build writes into its folder, and nothing else.
is_built_file() { # NAME
  case $1 in
    measure_stc | measure.sh | plan.json | ptxas.log | libstc_cusparselt.so) ;;
    libcublasLt.so.[0-9]* | libcusparseLt.so.[0-9]*) ;;
    *) return 1 ;;
  esac
}

# Refuses a folder that holds anything but a build: results, say.
refuse_other_files() { # FOLDER
  local folder=$1 file
  if [ ! -e "$folder" ]; then return 0; fi
  [ -d "$folder" ] || refuse "$folder is no folder"
  while IFS= read -r -d '' file; do
    if [ -d "$file" ] || ! is_built_file "$(basename -- "$file")" || [ ! -x "$folder/measure_stc" ]; then
      refuse "$folder holds '$(basename -- "$file")', which no build wrote: move it, or build another folder"
    fi
  done < <(find "$folder" -mindepth 1 -maxdepth 1 -print0)
}

# Puts the new folder in the old one's place. The old one lies beside it until then and comes back if the script is
# interrupted; of it only what a build writes is deleted.
replace() { # NEW FOLDER
  local new=$1 folder=$2 file
  if [ ! -e "$folder" ]; then
    mv -T -- "$new" "$folder"
    return 0
  fi
  replaced=$folder
  aside=$(mktemp -d -- "$folder.old-XXXX")
  trap 'put_back; rm -rf -- "$work"' EXIT
  mv -T -- "$folder" "$aside"
  mv -T -- "$new" "$folder"
  for file in "$aside"/*; do
    if [ -f "$file" ] && is_built_file "$(basename -- "$file")"; then rm -f -- "$file"; fi
  done
  rmdir -- "$aside" 2>/dev/null || echo "measure.sh: the old folder's other files are in $aside" >&2
}

put_back() {
  if [ ! -e "$replaced" ]; then
    mv -T -- "$aside" "$replaced"
  else
    rmdir -- "$aside" 2>/dev/null || true
  fi
}

build() { # FOLDER
  local folder=$1 nvcc root version major libs cublas sparse="" cxx
  refuse_other_files "$folder"
  [ -f "$here/measure_stc.cpp" ] || refuse "--build needs the sources; this is a built folder"
  nvcc=$(find_nvcc) || fail "no nvcc here: build the folder where CUDA 12.5 or later is, and bring it"
  root=$(dirname "$(dirname "$nvcc")")
  version=$({ "$nvcc" --version 2>/dev/null || true; } | sed -n 's/.*release \([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p')
  [[ $version =~ ^[0-9]+\.[0-9]+$ ]] || fail "the version of $nvcc cannot be read"
  major=${version%%.*}
  if [ "$major" -lt 12 ] || { [ "$major" = 12 ] && [ "${version#*.}" -lt 5 ]; }; then
    fail "nvcc $version is too old: mma.sp with ordered metadata needs 12.5"
  fi
  # The last is how Python's wheels lay CUDA out.
  for libs in "$root/lib64" "$root/targets/x86_64-linux/lib" "$root/lib"; do
    cublas=$(find "$libs/" -maxdepth 1 -name 'libcublasLt.so.[0-9][0-9]' 2>/dev/null | sort | tail -n 1 || true)
    if [ -n "$cublas" ]; then break; fi
  done
  [ -n "$cublas" ] || fail "no libcublasLt in lib64, targets/x86_64-linux/lib or lib of $root"
  read -r -a cxx <<<"${CXX:-c++}"
  command -v "${cxx[0]:-}" >/dev/null || fail "no C++ compiler: '${CXX:-c++}' is not found"

  mkdir -p -- "$(dirname -- "$folder")" 2>/dev/null || refuse "$(dirname -- "$folder") cannot be made"
  work=$(mktemp -d -- "$(dirname -- "$folder")/.stc-XXXXXX" 2>/dev/null) ||
    refuse "$(dirname -- "$folder") cannot be written into"
  trap 'rm -rf -- "$work"' EXIT
  mkdir "$work/stc"
  touch "$work/begun"
  case $cusparselt in
    none) ;;
    "") sparse=$(find_cusparselt "$root")
      if [ -z "$sparse" ] && [ "$fetch" = 1 ]; then sparse=$(fetch_cusparselt "$work/wheel" "$major"); fi ;;
    *) sparse=$(find_cusparselt "$cusparselt")
      [ "$sparse" = "$cusparselt" ] || refuse "$cusparselt holds no include/cusparseLt.h and lib/libcusparseLt.so.0" ;;
  esac

  compile_all "$nvcc" "$root" "$sparse"
  # What the program needs besides the C library lies beside it.
  local link=(-static-libstdc++ -static-libgcc "-L$libs" -lcudart_static -ldl -lrt -lpthread "-Wl,-rpath,\$ORIGIN")
  "${cxx[@]}" -o "$work/stc/measure_stc" "$work"/*.o "${link[@]}" "$cublas" || fail "measure_stc does not link"
  if [ -n "$sparse" ]; then
    "${cxx[@]}" -shared -o "$work/stc/libstc_cusparselt.so" "$work/plugin/cusparselt.o" -Wl,--exclude-libs,ALL \
      "${link[@]}" "$(cusparselt_library "$sparse")" || fail "libstc_cusparselt.so does not link"
  fi
  if [ "$libraries" = copy ]; then
    cp -L "$cublas" "$work/stc/"
    if [ -n "$sparse" ]; then cp -L "$(cusparselt_library "$sparse")" "$work/stc/"; fi
  fi
  # A source that changes during the build is newer than the program.
  touch -r "$work/begun" "$work/stc/measure_stc"
  cp "$here/measure.sh" "$work/stc/measure.sh"
  cp "$here/stc_plan.json" "$work/stc/plan.json"
  cat "$work"/*.cu.log >"$work/stc/ptxas.log"
  replace "$work/stc" "$folder"
  rm -rf -- "$work"
  trap - EXIT
  echo "built $folder with $nvcc $version, cuSPARSELt: ${sparse:-not found, its columns stay empty}"
}

compile_all() { # NVCC ROOT CUSPARSELT
  local nvcc=$1 root=$2 sparse=$3 file name jobs=${ENMESH_JOBS:-$(nproc)} cache=() host_cache=()
  if command -v ccache >/dev/null 2>&1; then cache=(ccache); fi
  case ${cxx[0]##*/} in
    *ccache) ;; # once is enough
    *) host_cache=("${cache[@]}") ;;
  esac
  local device=(-std=c++20 -O2 -Xptxas -v -Xcompiler -fPIC -gencode arch=compute_80,code=sm_80
    -gencode 'arch=compute_90,code=[sm_90,compute_90]')
  local host=(-std=c++20 -O1 -fPIC -Wall -Wextra -DFMT_HEADER_ONLY "-I$here/../../include" -isystem "$root/include")
  mkdir "$work/plugin"
  for name in mma_sp operands select cublaslt; do
    start "$work/$name.cu.log" "${cache[@]}" "$nvcc" "${device[@]}" -c "$here/$name.cu" -o "$work/$name.o"
  done
  for file in measure_stc contestants results plan device pack_on_cpu timing; do
    start "$work/$file.log" "${host_cache[@]}" "${cxx[@]}" "${host[@]}" -c "$here/$file.cpp" -o "$work/$file.o"
  done
  if [ -n "$sparse" ]; then
    # It has no kernel: any architecture does.
    start "$work/cusparselt.log" "${cache[@]}" "$nvcc" -std=c++20 -O2 -Xcompiler -fPIC,-fvisibility=hidden -arch=sm_80 \
      "-I$sparse/include" -c "$here/cusparselt.cu" -o "$work/plugin/cusparselt.o"
  fi
  finish_all
}

# Prints a source that is newer than the program, or nothing.
newer_source() { # PROGRAM
  local root=$here/../..
  find "$here" "$root/include/enmesh/base" -type f -newer "$1" -print -quit
}

# ---- running -----------------------------------------------------------------------------------------------------------

# Looks for libraries that the folder lacks.
use_libraries_elsewhere() { # FOLDER
  local folder=$1 file name
  for file in "$folder/measure_stc" "$folder/libstc_cusparselt.so"; do
    [ -e "$file" ] || continue
    for name in $(LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}" ldd "$file" 2>/dev/null | sed -n 's/^[[:space:]]*\([^ ]*\) => not found/\1/p'); do
      local at
      at=$(library_folders | while read -r at; do
        if [ -f "$at/$name" ]; then
          echo "$at"
          break
        fi
      done || true)
      if [ -n "$at" ]; then export LD_LIBRARY_PATH="$at${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"; fi
    done
  done
  if ldd "$folder/measure_stc" 2>/dev/null | grep 'libcublasLt.*not found' >/dev/null; then
    fail "libcublasLt is neither in $folder nor on this machine"
  fi
}

run() {
  # The driver's device files (of WSL: dxg), before anything is built for nothing.
  if [ -z "$(ls -d /dev/nvidia[0-9]* /dev/nvidiactl /dev/dxg 2>/dev/null || true)" ]; then
    echo "skipped: no GPU here (no NVIDIA device in /dev)"
    exit 77
  fi
  local folder=$here
  if [ ! -x "$folder/measure_stc" ]; then
    folder=$here/../../build/stc
    if [ ! -x "$folder/measure_stc" ] || [ -n "$(newer_source "$folder/measure_stc")" ]; then
      build "$(readlink -m -- "$folder")"
    fi
  fi
  use_libraries_elsewhere "$folder"
  local limit=()
  if command -v timeout >/dev/null 2>&1; then limit=(timeout -k 5 $((seconds + 60))); fi
  if [ "$check" = 1 ]; then exec "${limit[@]}" "$folder/measure_stc" --check; fi
  exec "${limit[@]}" "$folder/measure_stc" --plan "${plan:-$folder/plan.json}" --out "$out" --seconds "$seconds"
}

target="" out=stc-results seconds=400 plan="" check=0 libraries=copy cusparselt="" fetch=0 run_option="" time_option="" build_option=""
while [ $# -gt 0 ]; do
  case $1 in
    --help)
      usage
      exit 0 ;;
    --check) check=1 run_option=$1 ;;
    --fetch-cusparselt) fetch=1 build_option=$1 ;;
    --build | --out | --seconds | --plan | --libraries | --cusparselt)
      if [ $# -lt 2 ] || [ -z "$2" ]; then refuse "$1 needs a value"; fi
      case $1 in
        --build) target=$2 ;;
        --out) out=$2 run_option=$1 time_option=$1 ;;
        --seconds) seconds=$2 run_option=$1 time_option=$1 ;;
        --plan) plan=$2 run_option=$1 time_option=$1 ;;
        --libraries) libraries=$2 build_option=$1 ;;
        --cusparselt) cusparselt=${2%/} cusparselt=${cusparselt:-/} build_option=$1 ;;
      esac
      shift ;;
    *) refuse "unknown option '$1' (see --help)" ;;
  esac
  shift
done
case $seconds in
  *[!0-9]* | "" | 0*) refuse "--seconds '$seconds': a whole number from 1 on is expected" ;;
esac
[ ${#seconds} -le 5 ] || refuse "--seconds '$seconds': at most 99999"
case $libraries in
  copy | none) ;;
  *) refuse "--libraries '$libraries': copy or none is expected" ;;
esac
if [ -n "$target" ]; then
  [ -z "$run_option" ] || refuse "$run_option does not go with --build"
  if [ "$fetch" = 1 ]; then
    [ "$libraries" = copy ] || refuse "--fetch-cusparselt does not go with --libraries none"
    [ -z "$cusparselt" ] || refuse "--fetch-cusparselt does not go with --cusparselt"
  fi
  build "$(readlink -m -- "$target")"
else
  [ -z "$build_option" ] || refuse "$build_option goes with --build only"
  if [ "$check" = 1 ] && [ -n "$time_option" ]; then refuse "$time_option does not go with --check"; fi
  if [ -n "$plan" ] && [ ! -r "$plan" ]; then refuse "'$plan' cannot be read"; fi
  run
fi
