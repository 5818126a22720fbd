#!/bin/sh
# Installs what building enmesh needs on Debian 12 and its relatives: only what is missing, as root or with sudo.
# --tests: also the tools of the RTL's tests, where they can be had; without them those tests skip.
set -eu

packages="build-essential cmake ninja-build libdnnl-dev ocl-icd-opencl-dev libfmt-dev libcli11-dev nlohmann-json3-dev
libtomlplusplus-dev libgtest-dev libjpeg62-turbo-dev libpng-dev zlib1g-dev libcurl4-openssl-dev
libssl-dev libprotobuf-dev protobuf-compiler libonnx-dev"

if ! command -v dpkg-query >/dev/null 2>&1; then
  echo "install-deps: this is not a Debian system; install the equivalents of:" $packages >&2
  exit 1
fi

optional=""
if [ "${1:-}" = --tests ]; then optional="verilator yosys"; fi

missing=$("$(dirname "$0")/missing-packages.sh" $packages)
wanted=$("$(dirname "$0")/missing-packages.sh" $optional)
if [ -z "$missing$wanted" ]; then
  echo "install-deps: everything is installed"
  exit 0
fi

if [ "$(id -u)" = 0 ]; then
  root=""
elif command -v sudo >/dev/null 2>&1; then
  root="sudo"
elif [ -z "$missing" ]; then
  echo "install-deps: neither root nor sudo for $wanted: the tests of rtl/ skip"
  exit 0
else
  echo "install-deps: neither root nor sudo; ask an administrator for: apt-get install $missing" >&2
  exit 1
fi

echo "install-deps: installing $missing$wanted"
export DEBIAN_FRONTEND=noninteractive
if [ -n "$missing" ] && ! { $root apt-get update -q && $root apt-get install -q -y --no-install-recommends $missing; }; then
  echo "install-deps: apt-get could not install: $missing" >&2
  exit 1
fi
if [ -n "$wanted" ] && ! { $root apt-get update -q && $root apt-get install -q -y --no-install-recommends $wanted; }; then
  echo "install-deps: $wanted cannot be had: the tests of rtl/ skip"
fi
