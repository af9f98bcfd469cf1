#!/bin/bash
# Checks that the running box does what the scenarios ask of it. Works in a namespace of its own; every wait is bounded.
. "$(dirname "$0")/lib.sh"
for part in process network nodes; do . "$SRC/parts/$part.sh"; done

SPACE=box-selftest
failed=0
kn() { k -n $SPACE --request-timeout=20s "$@"; }

# check TEXT SECONDS COMMAND...: passes when the command succeeds within that time.
check() {
  local text=$1 seconds=$2 t0; shift 2; t0=$(now_ms)
  if wait_for "$seconds" "$text" "$@"; then echo "pass  $(since "$t0")  $text"; else echo "FAIL  $(since "$t0")  $text"; failed=1; fi
}
# timed TEXT COMMAND...: passes when the command succeeds.
timed() {
  local text=$1 t0 out; shift; t0=$(now_ms)
  if out=$("$@" 2>&1 </dev/null); then echo "pass  $(since "$t0")  $text"; else echo "FAIL  $(since "$t0")  $text: $(tail -3 <<<"$out")"; failed=1; fi
}

apply_workload() {
  kn apply -f - >/dev/null <<'Y'
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {clusterIP: None, publishNotReadyAddresses: true, selector: {app: web}, ports: [{port: 8080}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: peers
  replicas: 3
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532}
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: docker.io/library/busybox:box
        command: [sh, -c, 'echo "$HOSTNAME" >> /data/starts; echo "$HOSTNAME" > /data/index.html; exec httpd -f -p 8080 -h /data']
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
Y
}
# A webhook that speaks no TLS: the refusal's text tells whether the API server reached the pod.
apply_webhook() {
  k apply -f - >/dev/null <<Y
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: $SPACE}
webhooks:
- name: selftest.chronik.dev
  clientConfig: {service: {namespace: $SPACE, name: web, port: 80}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: $SPACE}}
  failurePolicy: Fail
  sideEffects: None
  admissionReviewVersions: [v1]
  timeoutSeconds: 5
Y
}

ready_pods() { [ "$(kn get statefulset web -o 'jsonpath={.status.readyReplicas}')" = "${1:-3}" ]; }
spread() { [ "$(kn get pods -l app=web -o 'jsonpath={range .items[*]}{.spec.nodeName}{"\n"}{end}' | sort -u | grep -c .)" = 3 ]; }
bound() { [ "$(kn get pvc -o 'jsonpath={range .items[*]}{.status.phase}{"\n"}{end}' | grep -c Bound)" = 3 ]; }
# Debian's static busybox crashes on `wget -T`, hence `timeout`.
in_pod() { kn exec "$1" -- sh -c "$2"; }
service_from() { in_pod "$1" 'for i in 1 2 3 4 5 6 7 8 9; do timeout 2 wget -qO- http://web || exit 1; done'; }
services() { local i; for i in 0 1 2; do service_from web-$i || return 1; done; }
headless() { in_pod web-0 'timeout 2 wget -qO- http://web-2.peers:8080 | grep -qx web-2'; }
from_client() { "$BIN/in-box" busybox timeout 2 busybox wget -qO- "$1" | grep -q '^web-'; }
client_headless() { local i; for i in 0 1 2; do from_client "http://web-$i.peers.$SPACE.svc.cluster.local:8080" || return 1; done; }
pod_ip() { kn get pod "$1" -o 'jsonpath={.status.podIP}'; }
pod_answers() { busybox timeout 2 busybox wget -qO- "http://$1:8080" | grep -q '^web-'; }
from_host() { pod_answers "$(pod_ip web-0)"; }
no_such_name() { in_pod web-0 'timeout 2 nslookup nowhere.example.com | grep -q NXDOMAIN'; }
webhook_called() { grep -q 'HTTP response to HTTPS client' <<<"$(kn create configmap refused 2>&1 || true)"; }
logs_work() { in_pod web-0 'echo said > /proc/1/fd/1' && kn logs web-0 | grep -q said; }
drain() { k drain "$1" --ignore-daemonsets --delete-emptydir-data --timeout=60s; }
started_again() { [ "$(in_pod "$1" 'grep -c . /data/starts')" -ge 2 ]; }
node_of() { kn get pod "$1" -o 'jsonpath={.spec.nodeName}'; }
silent() { ! pod_answers "$1"; }

need_root
[ "$(owner)" = "$ROOT" ] || die "no box of $ROOT is up: run make box"
clean() { k delete validatingwebhookconfiguration $SPACE --ignore-not-found; k delete namespace $SPACE --ignore-not-found --timeout=60s; }
k uncordon node1 node2 node3 >/dev/null
timed "clean up after an earlier run" clean
k create namespace $SPACE >/dev/null

apply_workload
check "three pods with a volume each are ready" 60 ready_pods
timed "they are spread over three nodes" spread
timed "their claims are bound" bound
check "every pod reaches the Service, its own node's pod included" 30 services
check "headless names resolve in pods" 10 headless
timed "exec and logs" logs_work
timed "a name outside the cluster is refused at once" no_such_name
check "the machine reaches a pod by address" 10 from_host
check "in-box reaches a Service by name" 20 from_client http://web.$SPACE.svc.cluster.local
check "in-box reaches each pod by name" 20 client_headless
apply_webhook
check "the API server calls a webhook in a pod" 20 webhook_called
k delete validatingwebhookconfiguration $SPACE >/dev/null

victim=$(node_of web-0)
timed "drain $victim" drain "$victim"
k uncordon "$victim" >/dev/null
check "the evicted pod is back on its volume" 60 ready_pods
check "its data is still there" 10 started_again web-0

victim=$(node_of web-1); ip=$(pod_ip web-1)
check "its pod answers before" 5 pod_answers "$ip"
timed "kill $victim" "$SRC/node.sh" kill "$victim"
check "its pod is silent" 5 silent "$ip"
check "Kubernetes notices" 90 node_not_ready "${victim#node}"
check "the Service goes on without it" 30 from_client http://web.$SPACE.svc.cluster.local
timed "start $victim" "$SRC/node.sh" start "$victim"
check "all pods are ready again" 90 ready_pods
check "the killed pod came back to its data" 10 started_again web-1

victim=$(node_of web-2); ip=$(pod_ip web-2)
check "its pod answers before" 5 pod_answers "$ip"
timed "cut $victim" "$SRC/node.sh" cut "$victim"
check "its pod is silent" 5 silent "$ip"
check "Kubernetes notices" 90 node_not_ready "${victim#node}"
timed "heal $victim" "$SRC/node.sh" heal "$victim"
check "all pods are ready again" 60 ready_pods
check "every pod reaches the Service" 30 services

timed "delete the namespace" clean
check "deleted volumes leave no folder" 30 sh -c "[ -z \"\$(find '$STATE/volumes' -mindepth 2 -maxdepth 2)\" ]"
if [ $failed = 0 ]; then echo "the box does what it should"; else echo "the box FAILED"; exit 1; fi
