# The box's network: a switch, the nodes and one client, each in a namespace of its own. Sourced.
#
# The switch has a namespace too, so the machine's firewall (Docker drops forwarded frames, for
# one) does not see the nodes' traffic, and no setting of the machine is changed. There is no
# default route anywhere: nothing in the box can reach beyond the machine.

in_ns() { local ns=$1; shift; nsenter --net="/run/netns/$NS-$ns" "$@"; }
has_ns() { ip netns list | grep -q "^$NS-$1\b"; }
ns_make() { ip netns add "$NS-$1"; ip -n "$NS-$1" link set lo up; }
ns_remove() { if has_ns "$1"; then ip netns del "$NS-$1"; elif [ -e "/run/netns/$NS-$1" ]; then rm -f "/run/netns/$NS-$1"; fi; }

# plug NAME: joins a port to the switch; unplug: the carrier stays up, frames vanish in silence.
plug() { ip -n "$NS-switch" link set "p-$1" master switch; }
unplug() { ip -n "$NS-switch" link set "p-$1" nomaster 2>/dev/null || true; }
has_port() { ip -n "$NS-switch" link show "p-$1" >/dev/null 2>&1; }
plugged() { ip -n "$NS-switch" -o link show "p-$1" 2>/dev/null | grep -q 'master switch'; }

# cable NAME ADDRESS [NAMESPACE] [DEVICE]: a veth from the switch's port p-NAME to that end.
cable() {
  local name=$1 address=$2 ns=${3:-} dev=${4:-eth0}
  ip -n "$NS-switch" link add "p-$name" type veth peer name "$dev" netns "${ns:-1}"
  ip -n "$NS-switch" link set "p-$name" up
  ip ${ns:+-n $ns} addr add "$address/24" dev "$dev"
  ip ${ns:+-n $ns} link set "$dev" up
  plug "$name"
}

switch_up() {
  if has_ns switch && has_port host && ip link show $LINK >/dev/null 2>&1; then host_routes; return; fi
  switch_down
  ns_make switch
  ip -n $NS-switch link add switch type bridge
  ip -n $NS-switch link set switch up
  cable host $HOST_IP "" $LINK
  host_routes
}
host_routes() { local n; for n in $NODES; do ip route replace "$(pod_net "$n")" via "$(node_ip "$n")" dev $LINK; done; }
switch_down() { ip link del $LINK 2>/dev/null || true; ns_remove switch; }

# pod_routes NAMESPACE [NODE]: ways to all nodes' pods but the node's own, and one that service
# addresses need to get as far as kube-proxy's rules, which rewrite them.
pod_routes() {
  local m
  for m in $NODES; do
    [ "$m" = "${2:-}" ] || ip -n "$NS-$1" route replace "$(pod_net "$m")" via "$(node_ip "$m")"
  done
  ip -n "$NS-$1" route replace $SERVICES dev eth0
}

node_net_up() {
  local n=$1
  ns_make "node$n"
  cable "node$n" "$(node_ip "$n")" "$NS-node$n"
  in_ns "node$n" sysctl -qw net.ipv4.ip_forward=1
  pod_routes "node$n" "$n"
}
node_net_down() {
  ip -n $NS-switch link del "p-node$1" 2>/dev/null || true
  ns_remove "node$1"
}
