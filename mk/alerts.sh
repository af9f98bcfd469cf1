#!/usr/bin/env bash
# Builds promtool and has it check and test charts/chronik/files/alerts.yaml. The first build takes minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
promtool=$PWD/target/promtool

command -v go >/dev/null || { echo "alerts: needs Go 1.26 or newer on the PATH: https://go.dev/dl" >&2; exit 1; }
(cd e2e/promtool && GOWORK=off CGO_ENABLED=0 nice go build -trimpath -buildvcs=false -o "$promtool" \
  github.com/prometheus/prometheus/cmd/promtool)
"$promtool" check rules charts/chronik/files/alerts.yaml
"$promtool" test rules charts/chronik/files/alerts-test.yaml
