#!/bin/bash
# Brings the box up: repairs what is not running, starts anew what cannot be repaired.
. "$(dirname "$0")/lib.sh"
for part in process network pki control addons nodes client; do . "$SRC/parts/$part.sh"; done

healthy() {
  local n
  [ "$(owner)" = "$ROOT" ] && control_alive && client_alive || return 1
  for n in $NODES; do node_alive "$n" && plugged "node$n" || return 1; done
  nodes_ready 0 && dns_ready >/dev/null
}
nodes_ready() { local n; for n in $NODES; do node_ready "$n" "$1" || return 1; done; }

each_node() {
  local n pids=() pid
  for n in $NODES; do "$1" "$n" & pids+=($!); done
  for pid in "${pids[@]}"; do wait "$pid"; done
}

machines_and_api() {
  pki_make
  install -m 600 "$PKI/admin.kubeconfig" "$BOX/kubeconfig"
  switch_up
  api_up
  each_node machine_up
  wait_for 60 "the API server (see $LOG/apiserver.log)" api_ready
}

agents() {
  controllers_up
  dns_up
  volumes_up
  each_node agents_up
  client_up
}

bring_up() {
  local start; start=$(date +%s)
  mkdir -p "$STATE" "$LOG" $RUN
  echo "$ROOT" >$RUN/owner
  step "start etcd, the API server and three machines" machines_and_api
  step "start controllers, DNS, volumes, kubelets, proxies" agents
  step "wait until the nodes are ready" wait_for 90 "the nodes (see $LOG/kubelet*.log)" nodes_ready "$start"
  step "wait until names and services answer" names_answer
}
names_answer() {
  wait_for 30 "cluster DNS (see $LOG/dns.log)" dns_ready
  wait_for 60 "the client's kube-proxy (see $LOG/proxy-client.log)" client_ready
  wait_for 60 "the default service account" k get serviceaccount -n default default
}

summary() {
  note "kubeconfig  $BOX/kubeconfig"
  note "tools       $BIN/kubectl  $BIN/helm  $BIN/in-box COMMAND (runs a command inside the cluster's network)"
}

need_root
t0=$(now_ms)
for program in kubebox helm coredns pause; do [ -x "$PROGRAMS/$program" ] || die "$PROGRAMS/$program is missing: run make box"; done
lock_box
other=$(owner)
if [ -n "$other" ] && [ "$other" != "$ROOT" ]; then
  group_empty "" || die "the box of $other is up, and a machine holds only one: stop it with $SRC/down.sh"
  "$SRC/down.sh"
fi
if [ "${1:-}" = --try ]; then bring_up; exit; fi
if healthy; then
  note "the box is up and well already ($(since "$t0"))"
  summary; exit
fi
had_state=$([ -d "$STATE" ] && echo yes || true)
[ -z "$had_state" ] || note "a box was here before: repairing it"
if ! "$SRC/up.sh" --try; then
  [ -n "$had_state" ] || die "the box does not start: see $LOG"
  note "the old box cannot be repaired: starting a new one"
  "$SRC/down.sh"
  "$SRC/up.sh" --try
fi
k get nodes -L topology.kubernetes.io/zone
note "the box is up: $(since "$t0")"
summary
