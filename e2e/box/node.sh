#!/bin/bash
# Faults: node.sh kill|start|cut|heal NODE, node.sh crash|freeze|thaw|peak NODE CONTAINER
. "$(dirname "$0")/lib.sh"
for part in process network nodes; do . "$SRC/parts/$part.sh"; done

usage() {
  cat >&2 <<U
usage: node.sh ACTION NODE      NODE is one of: $(for n in $NODES; do printf 'node%s ' "$n"; done)
  kill    power loss: the network goes silent, then kubelet, containerd and every container die
  start   power on after a kill; returns when the node is Ready
  cut     unplugs the network cable: nothing dies, and nobody hears a connection close
  heal    plugs it in again; returns when the node is Ready
  crash   kills the processes of one container on it, given by its id
  freeze  has them stand still
  thaw    has them go on
  peak    says how much memory, in KiB, its first process ever held
U
  exit 2
}
action=${1:-} n=${2:-} container=${3:-}
case $action in crash | freeze | thaw | peak) [ $# = 3 ] || usage ;; *) [ $# = 2 ] || usage ;; esac
n=${n#node}
[[ " $NODES " == *" $n "* ]] || { echo "node.sh: no node is named '$2'" >&2; usage; }

need_root
lock_box
[ "$(owner)" = "$ROOT" ] || die "no box of $ROOT is up: run make box"
t0=$(now_ms) since=$(date +%s)
case $action in
  kill) node_down "$n" ;;
  start)
    machine_up "$n"
    agents_up "$n"
    wait_for 90 "node$n to be Ready (see $LOG/kubelet$n.log)" node_ready "$n" "$since" ;;
  cut) node_alive "$n" || die "node$n is not running: node.sh start node$n"; unplug "node$n" ;;
  heal)
    node_alive "$n" || die "node$n is not running: node.sh start node$n"
    plug "node$n"
    wait_for 90 "node$n to be Ready (see $LOG/kubelet$n.log)" node_ready "$n" "$since" ;;
  crash) ctr_node "$n" tasks kill --signal SIGKILL "$container" ;;
  freeze) ctr_node "$n" tasks pause "$container" ;;
  thaw) ctr_node "$n" tasks resume "$container" ;;
  peak)
    pid=$(ctr_node "$n" tasks ls | awk -v id="$container" '$1 == id { print $2 }')
    awk '/^VmHWM/ { print $2 }' "/proc/${pid:?node$n runs no container $container}/status"
    exit ;;
  *) usage ;;
esac
note "$action node$n: $(since "$t0")"
