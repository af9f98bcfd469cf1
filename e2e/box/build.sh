#!/bin/bash
# Builds Kubernetes, Helm, CoreDNS and the box's own small programs; writes the wrappers in target/box/bin.
. "$(dirname "$0")/lib.sh"

command -v go >/dev/null || die "needs Go 1.25 or newer on the PATH: https://go.dev/dl"
version_of() { awk -v m="$1" '$1 == m && $2 ~ /^v/ {print $2; exit}' "$SRC/go.mod"; }
KUBERNETES=$(version_of k8s.io/kubernetes) HELM=$(version_of helm.sh/helm/v3)
minor=${KUBERNETES#v1.} minor=${minor%%.*}

# Programs say their version, and `helm template` assumes the Kubernetes version, only when told at link time.
flags() {
  local helm=helm.sh/helm/v3
  printf -- '-X %s ' \
    k8s.io/component-base/version.gitVersion="$KUBERNETES" k8s.io/component-base/version.gitMajor=1 \
    k8s.io/component-base/version.gitMinor="$minor" $helm/internal/version.version="$HELM" \
    $helm/pkg/chartutil.k8sVersionMajor=1 $helm/pkg/chartutil.k8sVersionMinor="$minor" \
    $helm/pkg/lint/rules.k8sVersionMajor=1 $helm/pkg/lint/rules.k8sVersionMinor="$minor"
}

# One build compiles the shared libraries once. Niced: it uses all cores for minutes.
build() {
  mkdir -p "$PROGRAMS.new" "$LOG"
  (cd "$SRC" && GOWORK=off CGO_ENABLED=0 nice -n 10 go build -trimpath -buildvcs=false -ldflags "-s -w $(flags)" \
    -o "$PROGRAMS.new/" . ./pause helm.sh/helm/v3/cmd/helm github.com/coredns/coredns) >"$LOG/build.log" 2>&1 ||
    { grep -v '^go: downloading' "$LOG/build.log" | tail -30 >&2; die "the build failed: see $LOG/build.log"; }
  mkdir -p "$PROGRAMS"
  # Renamed into place one by one: a running program keeps its old file.
  local f; for f in "$PROGRAMS.new"/*; do mv -f "$f" "$PROGRAMS/"; done
  rmdir "$PROGRAMS.new"
}

# The wrappers always speak to the box, whatever KUBECONFIG says: never to a real cluster by accident.
wrapper() { mkdir -p "$BIN"; { echo '#!/bin/sh'; cat; } >"$BIN/$1.new"; chmod +x "$BIN/$1.new"; mv "$BIN/$1.new" "$BIN/$1"; }
wrappers() {
  wrapper kubectl <<W
export KUBECONFIG=$BOX/kubeconfig
exec $PROGRAMS/kubebox kubectl "\$@"
W
  wrapper helm <<W
export KUBECONFIG=$BOX/kubeconfig HELM_CACHE_HOME=$BOX/helm/cache HELM_CONFIG_HOME=$BOX/helm/config HELM_DATA_HOME=$BOX/helm/data
exec $PROGRAMS/helm "\$@"
W
  wrapper in-box <<W
# Runs a command inside the box's network and with its DNS; needs root and a running box.
[ \$# -gt 0 ] || { echo "usage: in-box COMMAND..." >&2; exit 2; }
[ -e /run/netns/$NS-client ] || { echo "in-box: no box is up: run make box" >&2; exit 1; }
export KUBECONFIG=$BOX/kubeconfig PATH=$BIN:\$PATH
exec nsenter --net=/run/netns/$NS-client unshare --mount sh -c 'mount --bind "\$0" /etc/resolv.conf && exec "\$@"' $STATE/resolv.conf "\$@"
W
}

stamp=$(cd "$SRC" && { go version; digest build.sh go.mod go.sum main.go volumes/*.go pause/*.go; echo "$ROOT"; } | digest -)
if [ "$(cat "$PROGRAMS/stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi
rm -f "$PROGRAMS/stamp"
[ -x "$PROGRAMS/kubebox" ] || note "the first build compiles all of Kubernetes: about 7 minutes on two free cores"
step "build Kubernetes $KUBERNETES, Helm $HELM and CoreDNS from source" build
wrappers
echo "$stamp" >"$PROGRAMS/stamp"
