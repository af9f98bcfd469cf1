# The control plane, on the machine itself, listening only on the box's own network. Sourced.

# api_up: etcd and the API server; agents that wait only briefly for it come after api_ready.
api_up() {
  group_make host
  ensure_daemon etcd host/etcd "$PROGRAMS/kubebox" etcd --name box --data-dir "$STATE/etcd" \
    --listen-client-urls "https://$HOST_IP:2379" --advertise-client-urls "https://$HOST_IP:2379" \
    --listen-peer-urls "https://$HOST_IP:2380" --initial-advertise-peer-urls "https://$HOST_IP:2380" \
    --initial-cluster "box=https://$HOST_IP:2380" \
    --cert-file "$PKI/etcd.crt" --key-file "$PKI/etcd.key" --client-cert-auth --trusted-ca-file "$PKI/ca.crt" \
    --peer-cert-file "$PKI/etcd.crt" --peer-key-file "$PKI/etcd.key" --peer-client-cert-auth --peer-trusted-ca-file "$PKI/ca.crt" \
    --unsafe-no-fsync
  # Aggregator routing: webhooks are called at a pod's address, because no kube-proxy
  # rewrites service addresses on the machine itself.
  ensure_daemon apiserver host/apiserver "$PROGRAMS/kubebox" kube-apiserver \
    --etcd-servers="https://$HOST_IP:2379" --etcd-cafile="$PKI/ca.crt" --etcd-certfile="$PKI/apiserver.crt" --etcd-keyfile="$PKI/apiserver.key" \
    --bind-address=$HOST_IP --advertise-address=$HOST_IP --secure-port=6443 --service-cluster-ip-range=$SERVICES \
    --client-ca-file="$PKI/ca.crt" --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
    --kubelet-certificate-authority="$PKI/ca.crt" --kubelet-client-certificate="$PKI/admin.crt" --kubelet-client-key="$PKI/admin.key" \
    --kubelet-preferred-address-types=InternalIP --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$PKI/sa.pub" --service-account-signing-key-file="$PKI/sa.key" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
    --enable-aggregator-routing=true
}

controllers_up() {
  ensure_daemon controllers host/controllers "$PROGRAMS/kubebox" kube-controller-manager \
    --kubeconfig="$PKI/controllers.kubeconfig" --bind-address=$HOST_IP --leader-elect=false --use-service-account-credentials=true \
    --service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt" \
    --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key"
  ensure_daemon scheduler host/scheduler "$PROGRAMS/kubebox" kube-scheduler \
    --kubeconfig="$PKI/scheduler.kubeconfig" --bind-address=$HOST_IP --leader-elect=false
}

# control_alive: all that runs on the machine itself.
control_alive() {
  local name
  for name in etcd apiserver controllers scheduler dns volumes; do daemon_alive $name host/$name || return 1; done
}
api_ready() { k get --raw /readyz --request-timeout=2s; }
