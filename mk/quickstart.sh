#!/usr/bin/env bash
# Installs Chronik in the running box and shows a topic's true ISR. Needs what `make quickstart` built before.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=target/box/bin
began=$SECONDS

step() {
  local text=$1 start=$SECONDS
  shift
  echo "==> $text"
  "$@"
  echo "    took $((SECONDS - start)) s"
}

images() {
  e2e/box/image-chronik.sh build target/release/chronik-broker target/release/chronik-operator
  e2e/box/image-chronik.sh load
}

install() {
  $bin/helm upgrade --install chronik charts/chronik --namespace chronik --create-namespace --wait --timeout 120s >/dev/null
}

# Pods made before this run may run another build: the operator does not restart brokers by itself yet.
resources() {
  $bin/kubectl apply -f mk/quickstart.yaml
  $bin/kubectl wait --for=condition=Ready brokercluster/demo --timeout=180s
  $bin/kubectl wait --for=condition=Ready topic/orders --timeout=60s
  $bin/kubectl wait --for=condition=InSync topic/orders --timeout=60s
}

show() {
  echo
  echo "\$ kubectl get brokerclusters"
  $bin/kubectl get brokerclusters
  echo
  echo "\$ kubectl get topics"
  $bin/kubectl get topics
  echo
  echo "\$ kubectl describe topic orders"
  $bin/kubectl describe topic orders
}

next() {
  cat <<TEXT

Chronik runs. What to try next, from this folder:

  # see it
  export PATH=$PWD/$bin:$PWD/target/kafka/bin:\$PATH
  kubectl get topics --watch
  in-box kafka-topics --bootstrap-server demo-bootstrap.default.svc.cluster.local:9092 --describe

  # produce and consume, from inside the cluster's network
  seq 1000 | in-box kafka-console-producer --bootstrap-server demo-bootstrap.default.svc.cluster.local:9092 --topic orders
  in-box kafka-console-consumer --bootstrap-server demo-bootstrap.default.svc.cluster.local:9092 --topic orders \\
    --partition 0 --offset 0 --timeout-ms 5000

  # kill the node of a broker like a power loss, and watch the ISR in another terminal
  kubectl get pods -o wide
  e2e/box/node.sh kill node3
  kubectl get topics                 # IN-SYNC 0/6: every partition lacks a replica, none is under min ISR
  e2e/box/node.sh start node3        # and it comes back

  make box-stop                      # stop everything
TEXT
}

step "make the image of broker and operator and give it to the nodes" images
step "helm install" install
step "create a cluster of three brokers and a topic, and wait until they are ready" resources
show
next
echo
echo "quickstart: $((SECONDS - began)) s after the builds"
