# What every script of the box shares: names, paths, addresses, and small helpers. Sourced, never run.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
SRC=$ROOT/e2e/box

# paths FOLDER: where the box of that project folder lies.
paths() {
  BOX=$1/target/box           # everything the box writes, but for RUN
  BIN=$BOX/bin                # what a person calls: kubectl, helm, in-box
  PROGRAMS=$BOX/programs      # what is built: kubebox, helm, coredns, pause
  IMAGES=$BOX/images          # docker archives that every node imports
  STATE=$BOX/state            # the cluster: keys, etcd, nodes, volumes; removed by down.sh
  PKI=$STATE/pki
  LOG=$BOX/log
}
paths "$ROOT"
RUN=/run/chronik-box          # sockets and container state: short paths, gone after a reboot
LOCK=/run/lock/chronik-box.lock

# One box per machine: these names are the machine's.
CGROUP=chronik-box
NODES="1 2 3"
NS=box                        # namespaces box-switch, box-client, box-node1, ...
LINK=chronik-box              # the machine's own end of the box's network

# A private network that nothing outside this machine can reach.
NET=10.213.0
HOST_IP=$NET.1
CLIENT_IP=$NET.2
node_ip() { echo "$NET.1$1"; }
pod_net() { echo "10.214.$1.0/24"; }
PODS=10.214.0.0/16
SERVICES=10.215.0.0/16
KUBERNETES_IP=10.215.0.1
API=https://$HOST_IP:6443
PAUSE_IMAGE=docker.io/chronik/pause:box
BUSYBOX_IMAGE=docker.io/library/busybox:box

die() { echo "box: $*" >&2; exit 1; }
note() { echo "    $*"; }

need_root() {
  [ "$(id -u)" = 0 ] || die "needs root (network namespaces, mounts, cgroups): run as root, for example: sudo make box"
  case $ROOT in *[[:space:]]*) die "the project's path holds white space, which mounts and cgroups do not bear: '$ROOT'" ;; esac
}

now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }
since() { local ms=$(($(now_ms) - $1)); printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100)); }

# step TEXT COMMAND...: says what it does and how long that took.
step() {
  local text=$1 t0; shift; t0=$(now_ms)
  echo "==> $text"
  "$@"
  note "$text: $(since "$t0")"
}

# wait_for SECONDS TEXT COMMAND...: polls until the command succeeds; fails with the text.
wait_for() {
  local seconds=$1 text=$2 end; shift 2; end=$(($(now_ms) + seconds * 1000))
  until "$@" >/dev/null 2>&1 </dev/null; do
    if [ "$(now_ms)" -gt "$end" ]; then echo "box: waited $seconds s for $text" >&2; return 1; fi
    sleep 0.2
  done
}

# One script at a time changes the box. The kernel frees the lock when its holder dies;
# daemons close the descriptor (start_daemon), or they would hold it for ever.
lock_box() {
  [ -z "${BOX_LOCKED:-}" ] || return 0   # called by a script that holds it
  export BOX_LOCKED=1
  exec 9>"$LOCK"
  flock -n 9 || { note "another box script is running; waiting for it"; flock 9; }
}

# owner: the project folder whose box is (or was) up; empty when none is.
owner() { cat $RUN/owner 2>/dev/null || true; }

k() { "$BIN/kubectl" "$@"; }
ctr_node() { local n=$1; shift; ctr -a "$RUN/node$n/containerd.sock" -n k8s.io "$@"; }

# digest FILES...: one hash over names and contents.
digest() { sha256sum "$@" | sha256sum | cut -c1-16; }
