#!/bin/sh
# Installs what building enmesh needs on Debian 12 and its relatives: only what is missing, as root or with sudo.
set -eu

packages="build-essential cmake ninja-build libdnnl-dev ocl-icd-opencl-dev libfmt-dev libcli11-dev nlohmann-json3-dev
libtomlplusplus-dev libgtest-dev libjpeg62-turbo-dev libpng-dev zlib1g-dev libcurl4-openssl-dev
libssl-dev libprotobuf-dev protobuf-compiler libonnx-dev"

if ! command -v dpkg-query >/dev/null 2>&1; then
  echo "install-deps: this is not a Debian system; install the equivalents of:" $packages >&2
  exit 1
fi

missing=$("$(dirname "$0")/missing-packages.sh" $packages)
if [ -z "$missing" ]; then
  echo "install-deps: everything is installed"
  exit 0
fi

if [ "$(id -u)" = 0 ]; then
  root=""
elif command -v sudo >/dev/null 2>&1; then
  root="sudo"
else
  echo "install-deps: neither root nor sudo; ask an administrator for: apt-get install $missing" >&2
  exit 1
fi

echo "install-deps: installing $missing"
export DEBIAN_FRONTEND=noninteractive
if ! { $root apt-get update -q && $root apt-get install -q -y --no-install-recommends $missing; }; then
  echo "install-deps: apt-get could not install: $missing" >&2
  exit 1
fi
