#!/bin/sh
# scripts/missing-packages.sh PACKAGE...: those of the Debian packages that are not installed, in one line.
set -eu
for package in "$@"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || printf '%s ' "$package"
done
