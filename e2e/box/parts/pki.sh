# The cluster's keys, certificates and kubeconfigs. Sourced.

# pki_make: all of it, or none: a run killed half-way leaves nothing that looks whole.
pki_make() {
  [ -d "$PKI" ] && return
  local n t=$STATE/pki.new
  rm -rf "$t"; mkdir "$t"; chmod 700 "$t"
  key "$t/ca"; openssl req -x509 -new -key "$t/ca.key" -days 3650 -subj /CN=chronik-box -out "$t/ca.crt"
  key "$t/sa"; openssl pkey -in "$t/sa.key" -pubout -out "$t/sa.pub"
  cert etcd /CN=etcd "IP:$HOST_IP"
  cert apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:$HOST_IP,IP:$KUBERNETES_IP"
  client admin /O=system:masters/CN=admin
  client controllers /CN=system:kube-controller-manager
  client scheduler /CN=system:kube-scheduler
  client proxy /CN=system:kube-proxy
  for n in $NODES; do client "node$n" "/O=system:nodes/CN=system:node:node$n" "IP:$(node_ip "$n"),DNS:node$n"; done
  mv "$t" "$PKI"
}

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"; }

# cert NAME SUBJECT [ALTERNATIVE NAMES]
cert() {
  local t=$STATE/pki.new name=$1 subject=$2 names=${3:-}
  key "$t/$name"
  openssl req -new -key "$t/$name.key" -subj "$subject" -out "$t/$name.csr"
  printf 'extendedKeyUsage=clientAuth,serverAuth\n%s\n' "${names:+subjectAltName=$names}" >"$t/$name.ext"
  openssl x509 -req -in "$t/$name.csr" -CA "$t/ca.crt" -CAkey "$t/ca.key" -CAcreateserial -days 3650 \
    -extfile "$t/$name.ext" -out "$t/$name.crt" 2>/dev/null
}

# client NAME SUBJECT [ALTERNATIVE NAMES]: a certificate and a kubeconfig that carries it.
client() {
  local t=$STATE/pki.new
  cert "$@"
  cat >"$t/$1.kubeconfig" <<K
apiVersion: v1
kind: Config
clusters: [{name: box, cluster: {server: "$API", certificate-authority-data: $(base64 -w0 "$t/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$t/$1.crt"), client-key-data: $(base64 -w0 "$t/$1.key")}}]
contexts: [{name: box, context: {cluster: box, user: $1}}]
current-context: box
K
}
