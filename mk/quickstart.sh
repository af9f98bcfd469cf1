#!/usr/bin/env bash
# Installs Chronik in the running box, shows a topic's true ISR and guides through a rolling restart. Needs what `make quickstart` built before.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=target/box/bin
began=$SECONDS
build=

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

# The image's name stays the same: the annotation makes the operator's pods new ones when what is in it changed.
install() {
  build=$(cat target/box/images/chronik.tar.stamp)
  $bin/helm upgrade --install chronik charts/chronik --namespace chronik --create-namespace --wait --timeout 120s \
    --set-string podAnnotations.build="$build" >/dev/null
}

resources() {
  $bin/kubectl apply -f mk/quickstart.yaml
  $bin/kubectl wait --for=condition=Ready brokercluster/demo --timeout=180s
  in_sync
}
in_sync() {
  $bin/kubectl wait --for=condition=Ready topic/orders --timeout=60s
  $bin/kubectl wait --for=condition=InSync topic/orders --timeout=60s
}

# Brokers of an earlier run go on with the build they were started with: the image's name is the same, so nothing tells the
# operator that they are outdated.
renew_brokers() {
  local of pod
  of=$($bin/kubectl get brokercluster demo -o 'jsonpath={.metadata.annotations.build}')
  if [ -n "$of" ] && [ "$of" != "$build" ]; then
    for pod in $($bin/kubectl get pods -l chronik.dev/cluster=demo -o name); do
      echo "    $pod runs an older build: restart it"
      $bin/kubectl delete "$pod" >/dev/null
      $bin/kubectl wait --for=condition=Ready "$pod" --timeout=120s >/dev/null
      in_sync >/dev/null
    done
  fi
  $bin/kubectl annotate --overwrite brokercluster demo build="$build" >/dev/null
}

show() {
  echo
  echo "\$ kubectl get brokerclusters"
  $bin/kubectl get brokerclusters
  echo
  echo "\$ kubectl get topics"
  $bin/kubectl get topics
  echo
  local each='{range .status.partitions[*]}partition {.partition}: leader {.leader}, in sync {.isr}{"\n"}{end}'
  echo "\$ kubectl get topic orders -o jsonpath='$each'"
  $bin/kubectl get topic orders -o jsonpath="$each"
}

next() {
  cat <<TEXT

Chronik runs. What to try next, from this folder:

  # see it
  export PATH=$PWD/$bin:$PWD/target/release:$PWD/target/kafka/bin:\$PATH
  kubectl chronik status             # also plan, topics, isr, brokers, explain 2: kubectl chronik help
  kubectl chronik isr --watch        # who is in sync, as it changes
  kubectl describe topic orders      # conditions, events, leader and ISR of each partition
  kubectl get topics --watch
  in-box kafka-topics --bootstrap-server demo-bootstrap.default.svc.cluster.local:9092 --describe

  # produce and consume, from inside the cluster's network
  seq 1000 | in-box kafka-console-producer --bootstrap-server demo-bootstrap.default.svc.cluster.local:9092 --topic orders
  in-box kafka-console-consumer --bootstrap-server demo-bootstrap.default.svc.cluster.local:9092 --topic orders \\
    --partition 0 --offset 0 --timeout-ms 5000

  # restart one broker when its partitions can spare it, and once more all of them, one at a time
  kubectl chronik restart 2
  mk/guide.sh

  # kill the node of a broker like a power loss, and watch the ISR in another terminal
  kubectl get pods -o wide
  e2e/box/node.sh kill node3
  kubectl get topics                 # within 6 s IN-SYNC 0/6: every partition lacks a replica, none is under min ISR
                                     # (20 s if the operator that acts was on that node: another takes over)
  e2e/box/node.sh start node3        # and it comes back

  make box-stop                      # stop everything
TEXT
}

step "make the image of broker and operator and give it to the nodes" images
step "helm install" install
step "create a cluster of three brokers and a topic, and wait until they are ready" resources
renew_brokers
show
step "restart the three brokers, one at a time, while their partitions stay available" mk/guide.sh
next
echo
echo "quickstart: $((SECONDS - began)) s after the builds"
