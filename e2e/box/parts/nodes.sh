# Nodes: containerd, kubelet and kube-proxy in a network namespace and a control group. Sourced.

# machine_alive N: powered on, with a cable; its agents may be dead.
machine_alive() { has_ns "node$1" && has_port "node$1" && daemon_alive "containerd$1" "node$1/containerd"; }
node_alive() {
  machine_alive "$1" && daemon_alive "kubelet$1" "node$1/kubelet" && daemon_alive "proxy$1" "node$1/proxy"
}

# machine_up N: a node after power-on, from whatever it was, but for its agents.
machine_up() {
  local n=$1
  if machine_alive "$n"; then plug "node$n"; return; fi
  node_down "$n"
  node_net_up "$n"
  group_make "node$n" "node$n/containerd" "node$n/kubelet" "node$n/proxy"
  mkdir -p "$STATE/node$n/cni" "$RUN/node$n"
  containerd_config "$n" >"$STATE/node$n/containerd.toml"
  kubelet_config "$n" >"$STATE/node$n/kubelet.yaml"
  cni_config "$n" >"$STATE/node$n/cni/10-pods.conflist"
  start_daemon "containerd$n" "node$n/containerd" nsenter --net="/run/netns/$NS-node$n" \
    containerd --config "$STATE/node$n/containerd.toml"
  wait_for 30 "containerd of node$n" ctr_node "$n" version
  images_import "$n" "$IMAGES"/*.tar
}

# agents_up N: kubelet and kube-proxy; the API server must answer by now.
agents_up() {
  local n=$1
  # nsenter and not `ip netns exec`, which makes a mount namespace: containerd would not see kubelet's volumes.
  ensure_daemon "kubelet$n" "node$n/kubelet" nsenter --net="/run/netns/$NS-node$n" "$PROGRAMS/kubebox" kubelet \
    --config="$STATE/node$n/kubelet.yaml" --kubeconfig="$PKI/node$n.kubeconfig" --root-dir="$STATE/node$n/kubelet" \
    --hostname-override="node$n" --node-ip="$(node_ip "$n")" \
    --node-labels="topology.kubernetes.io/region=box,topology.kubernetes.io/zone=zone$n"
  proxy_up "proxy$n" "node$n" "node$n/proxy" "node$n"
}

# proxy_up NAME NAMESPACE GROUP NODE. It may not write conntrack's settings, which are the machine's.
proxy_up() {
  ensure_daemon "$1" "$3" nsenter --net="/run/netns/$NS-$2" "$PROGRAMS/kubebox" kube-proxy --kubeconfig="$PKI/proxy.kubeconfig" \
    --hostname-override="$4" --proxy-mode=iptables --cluster-cidr=$PODS --conntrack-max-per-core=0 \
    --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
}

# node_down N: power loss. The cable goes first, so that no peer hears a connection close; then
# every process at once; then what a reboot would have emptied. Disks (images, volumes) stay.
node_down() {
  local n=$1
  unplug "node$n"
  group_kill "node$n"
  unmount_below "$RUN/node$n" "$STATE/node$n"
  shim_sockets_remove "$n"
  rm -rf --one-file-system "$RUN/node$n"
  rm -f "$BOX/pid/"{containerd,kubelet,proxy}"$n.pid"
  node_net_down "$n"
  group_remove "node$n"
}

# unmount_below FOLDER...: all mounts under them, the innermost first.
unmount_below() {
  local dir
  for dir; do
    awk -v d="$dir/" 'index($2, d) == 1 {print $2}' /proc/self/mounts | sort -r | xargs -r -n 64 umount -l
  done
}

# Shims keep their sockets in a folder that all containerds of a machine share.
shim_sockets_remove() {
  local f
  for f in "$RUN/node$1"/containerd/io.containerd.runtime.v2.task/k8s.io/*/address; do
    [ ! -f "$f" ] || rm -f "$(sed 's#^unix://##' "$f")"
  done
}

# images_import N ARCHIVE...: once per content.
images_import() {
  local n=$1 archive mark; shift
  mkdir -p "$STATE/node$n/imported"
  for archive; do
    [ -f "$archive" ] || continue
    mark=$STATE/node$n/imported/$(basename "$archive")
    if [ "$mark" -nt "$archive" ]; then continue; fi
    ctr_node "$n" images import "$archive" >/dev/null
    touch "$mark"
  done
}

containerd_config() {
  local n=$1
  cat <<C
version = 2
root = "$STATE/node$n/containerd"
state = "$RUN/node$n/containerd"
# Raising an oom score is refused in some virtual machines; snapshotters that need devices are of no use here.
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "$RUN/node$n/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$RUN/node$n/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$STATE/node$n/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "$RUN/node$n/runc"
C
}

kubelet_config() {
  local n=$1
  cat <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: $PKI/ca.crt}, webhook: {enabled: true}}
authorization: {mode: Webhook}
address: $(node_ip "$n")
tlsCertFile: $PKI/node$n.crt
tlsPrivateKeyFile: $PKI/node$n.key
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP/node$n
containerRuntimeEndpoint: unix://$RUN/node$n/containerd.sock
volumePluginDir: $STATE/node$n/volume-plugins
podLogsDir: $STATE/node$n/pod-logs
clusterDNS: ["$HOST_IP"]
clusterDomain: cluster.local
resolvConf: ""
failSwapOn: false
localStorageCapacityIsolation: false
evictionHard: {memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%"}
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 4s
oomScoreAdj: 0
C
}

# ptp and not bridge: every packet between pods is routed, so kube-proxy's rules see all of it
# without the kernel's bridge filter, which some kernels lack. Leases lie where a reboot loses them.
cni_config() {
  cat <<C
{"cniVersion": "1.0.0", "name": "$CGROUP", "plugins": [
  {"type": "ptp", "ipMasq": false,
   "ipam": {"type": "host-local", "dataDir": "$RUN/node$1/ipam", "ranges": [[{"subnet": "$(pod_net "$1")"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
C
}

# nodes_report: one line per node: name, Ready's status, its last heartbeat in seconds, blocking taints.
nodes_report() {
  local name ready beat taints
  k get nodes --request-timeout=5s -o jsonpath='{range .items[*]}{.metadata.name}{" "}{range .status.conditions[?(@.type=="Ready")]}{.status}{" "}{.lastHeartbeatTime}{end}{" "}{.spec.taints[*].key}{"\n"}{end}' |
    while read -r name ready beat taints; do
      echo "$name $ready $(date -d "$beat" +%s) $(grep -oE 'not-ready|unreachable|network-unavailable' <<<"$taints" | tr '\n' ' ')"
    done
}

# node_ready N SINCE: kubelet itself said so after SINCE (seconds), and the scheduler may use it.
# Without SINCE an answer from before the node died would count for 50 s.
node_ready() {
  nodes_report | awk -v name="node$1" -v since="$2" \
    '$1 == name && $2 == "True" && $3 >= since && NF == 3 {found = 1} END {exit !found}'
}
node_not_ready() { nodes_report | awk -v name="node$1" '$1 == name && $2 != "True" {found = 1} END {exit !found}'; }
