#!/usr/bin/env bash
# Says at once, rather than after twenty minutes, when the disk is too full for the tests.
set -euo pipefail
need_gb=20
for folder in . "${TMPDIR:-/tmp}"; do
  free_gb=$(($(stat -f -c '%a * %S' "$folder") / 1000000000))
  if [ "$free_gb" -lt "$need_gb" ]; then
    echo "the tests need $need_gb GB of disk for builds, brokers' logs and a Kubernetes; $(realpath "$folder") has $free_gb GB free;" \
      "what failed tests kept for a look is in ${TMPDIR:-/tmp}/chronik-*" >&2
    exit 1
  fi
done
