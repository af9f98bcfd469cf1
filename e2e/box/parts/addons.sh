# Cluster DNS and volumes, on the machine itself. Sourced.

dns_up() {
  cat >"$STATE/Corefile" <<C
cluster.local:53 in-addr.arpa:53 {
    bind $HOST_IP
    errors
    kubernetes cluster.local in-addr.arpa {
        kubeconfig $PKI/admin.kubeconfig
        pods insecure
        ttl 2
    }
    cache 2
}
# No other name exists in here: say so, rather than leave resolvers to time out.
.:53 {
    bind $HOST_IP
    template ANY ANY {
        rcode NXDOMAIN
    }
}
C
  ensure_daemon dns host/dns "$PROGRAMS/coredns" -conf "$STATE/Corefile"
}
dns_ready() { busybox nslookup kubernetes.default.svc.cluster.local $HOST_IP; }

volumes_up() {
  mkdir -p "$STATE/volumes"
  k apply -f - >/dev/null <<C
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: standard
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: chronik.dev/box
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Delete
C
  ensure_daemon volumes host/volumes "$PROGRAMS/kubebox" volumes --kubeconfig "$PKI/admin.kubeconfig" --root "$STATE/volumes"
}
