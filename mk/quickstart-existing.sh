#!/usr/bin/env bash
# quickstart-existing.sh CONTEXT IMAGE: installs Chronik in a Kubernetes that is there already, with an image that its nodes can
# pull, and shows a topic's true ISR. Uses kubectl and helm from the PATH, and that context only.
set -euo pipefail
cd "$(dirname "$0")/.."
context=$1 image=$2
namespace=chronik demo=${NAMESPACE:-chronik-demo}

die() { echo "quickstart: $*" >&2; exit 1; }

step() {
  local text=$1 start=$SECONDS
  shift
  echo "==> $text"
  "$@"
  echo "    took $((SECONDS - start)) s"
}

kubectl() { command kubectl --context "$context" "$@"; }

check() {
  local tool
  for tool in kubectl helm; do
    command -v "$tool" >/dev/null || die "needs $tool on the PATH"
  done
  # A colon after the last slash: without, it is a registry's port.
  [[ ${image##*/} == *:* ]] ||
    die "IMAGE = '$image' is not allowed: it is repository:tag, an image with chronik-broker and chronik-operator (see Dockerfile)"
  kubectl version >/dev/null || die "KUBECONTEXT = '$context' is not allowed: it is a context of kubectl whose API server answers"
}

install() {
  helm upgrade --install chronik charts/chronik --kube-context "$context" --namespace "$namespace" --create-namespace \
    --set image.repository="${image%:*}" --set image.tag="${image##*:}" --wait --timeout 180s >/dev/null
}

resources() {
  kubectl get namespace "$demo" >/dev/null 2>&1 || kubectl create namespace "$demo" >/dev/null
  # Without an image of its own the cluster takes the operator's.
  sed '/^  image:/d' mk/quickstart.yaml | kubectl apply --namespace "$demo" --filename -
  kubectl wait --namespace "$demo" --for=condition=Ready brokercluster/demo --timeout=300s
  kubectl wait --namespace "$demo" --for=condition=Ready topic/orders --timeout=60s
  kubectl wait --namespace "$demo" --for=condition=InSync topic/orders --timeout=60s
}

show() {
  kubectl get --namespace "$demo" brokerclusters,topics
  cat <<TEXT

Chronik runs in the context $context: the operator in namespace $namespace, a cluster in $demo. Kafka clients inside this
Kubernetes connect to demo-bootstrap.$demo.svc:9092. What to try next:

  kubectl --context $context -n $demo describe topic orders     # leader and ISR of each partition
  kubectl --context $context -n $demo patch brokercluster demo --type=merge -p '{"spec": {"config": {"default-partitions": "3"}}}'
  kubectl --context $context -n $demo get brokerclusters --watch   # a rolling restart, one broker at a time

To take it away: delete the namespace $demo, then helm --kube-context $context uninstall -n $namespace chronik
TEXT
}

check
step "helm install" install
step "create a cluster of three brokers and a topic, and wait until they are ready" resources
show
