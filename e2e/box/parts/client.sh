# The client: a place in the box's network for tools that run on the machine. Sourced.
#
# A command run by bin/in-box reaches pods by address, Services by address and both by cluster
# name; the machine's own resolver and firewall stay as they are.

client_up() {
  printf 'search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver %s\noptions ndots:5\n' $HOST_IP >"$STATE/resolv.conf"
  if client_alive; then return; fi
  client_down
  group_make client client/proxy
  ns_make client
  cable client $CLIENT_IP $NS-client
  pod_routes client
  # Its node is node1 in name only: kube-proxy wants one that exists.
  proxy_up proxy-client client client/proxy node1
}
client_alive() { has_ns client && has_port client && daemon_alive proxy-client client/proxy; }

client_down() {
  group_kill client
  ip -n $NS-switch link del p-client 2>/dev/null || true
  ns_remove client
  group_remove client
}
# kube-proxy has written its first rules.
client_ready() { in_ns client iptables -t nat -S KUBE-SERVICES | grep -q -- "-d $KUBERNETES_IP/32"; }
