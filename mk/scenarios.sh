#!/usr/bin/env bash
# Runs all that needs a Kubernetes, on a fresh box: the chart's and the operator's own tests, then whole scenarios.
# `scenarios.sh NAME...` runs only the scenarios whose names hold one of these. Needs what `make scenarios` made before.
# CHRONIK_PROFILE=release measures what people run; by default the binaries are debug builds, which CI has time for.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
bin=$root/target/box/bin
log=$root/target/scenarios.log
profile=${CHRONIK_PROFILE:-debug}
export KUBECONFIG=$root/target/box/kubeconfig HELM=$bin/helm
began=$SECONDS
failed=()

step() {
  local text=$1 start=$SECONDS
  shift
  echo "==> $text"
  "$@" </dev/null
  echo "    took $((SECONDS - start)) s"
}

# part NAME COMMAND...: goes on after a failure, and remembers it.
part() {
  local name=$1 start=$SECONDS
  shift
  echo "==> $name"
  "$@" </dev/null || { failed+=("$name"); echo "    FAILED: $name"; }
  echo "    took $((SECONDS - start)) s"
}

binaries() {
  local release=()
  if [ "$profile" = release ]; then release=(--release); fi
  # Another build of the broker, to upgrade to.
  cargo build --locked --quiet "${release[@]}" -p chronik-broker --features faulty-disk,next-version
  install -D "target/$profile/chronik-broker" target/faulty/chronik-broker
  cargo build --locked --quiet "${release[@]}" -p chronik-broker -p chronik-controller -p chronik-cli
  cargo test --locked --quiet --no-run -p chronik-controller --test chart --test kubernetes
  cargo test --locked --quiet --no-run -p chronik-e2e --test kubernetes
}

# An interrupted run, or a person, may have left anything: what is shown here starts from nothing.
fresh_box() {
  if [ "$(cat /run/chronik-box/owner 2>/dev/null)" = "$root" ]; then e2e/box/down.sh; fi
  e2e/box/up.sh
  e2e/box/image-chronik.sh build "target/$profile/chronik-broker" "target/$profile/chronik-operator"
  e2e/box/image-chronik.sh load
  CHRONIK_IMAGE=docker.io/chronik/chronik:next e2e/box/image-chronik.sh build target/faulty/chronik-broker
  CHRONIK_IMAGE=docker.io/chronik/chronik:next e2e/box/image-chronik.sh load
}

chart() {
  cargo test --locked --quiet -p chronik-controller --test chart -- --ignored
}

# The operator runs inside these tests, as the chart's service account and with its roles: so they are enough.
rights() {
  "$HELM" template chronik charts/chronik --namespace chronik --show-only templates/rbac.yaml --show-only templates/serviceaccount.yaml
}
operator() {
  "$HELM" uninstall chronik --namespace chronik --ignore-not-found --wait >/dev/null
  "$bin/kubectl" get namespace chronik >/dev/null 2>&1 || "$bin/kubectl" create namespace chronik >/dev/null
  rights | "$bin/kubectl" apply --filename - >/dev/null
  CHRONIK_TEST_USER=system:serviceaccount:chronik:chronik-operator \
    cargo test --locked --quiet -p chronik-controller --test kubernetes -- --ignored --test-threads=5 --nocapture
}

# Inside the box's network, where clients are; nodes are killed from outside of it.
scenarios() {
  CHRONIK_BOX_OUTSIDE=$$ "$bin/in-box" cargo test --locked --offline --quiet -p chronik-e2e --test kubernetes -- \
    --ignored --test-threads=1 --nocapture "$@" 2>&1 | tee "$log"
}

stop_box() {
  e2e/box/down.sh </dev/null
}

step "build what runs in the box, and its tests" binaries
trap stop_box EXIT
step "start a fresh box with the image of broker and operator" fresh_box
if [ $# = 0 ]; then part "chart" chart; fi
part "scenarios" scenarios "$@"
if [ $# = 0 ]; then part "operator" operator; fi

echo "==> figures"
grep -o 'figure: .*' "$log" | sed 's/^figure: /    /'
echo "    all of it: $((SECONDS - began)) s"
if [ ${#failed[@]} != 0 ]; then
  echo "failed: ${failed[*]}" >&2
  exit 1
fi
