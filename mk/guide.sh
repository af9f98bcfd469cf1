#!/usr/bin/env bash
# A rolling restart to watch, in the quickstart's cluster: a setting is changed, planned, and rolled out broker by broker.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/target/box/bin:$PWD/target/release:$PATH
longest=180

# run COMMAND...: shows the command before its output.
run() {
  echo
  echo "\$ $*"
  "$@"
}

say() {
  printf '\n# %s\n' "$@"
}

of_demo() { kubectl get brokercluster demo -o "jsonpath=$1"; }

# Another value each time, so that there is something to roll out.
change() {
  local now
  now=$(of_demo '{.spec.config.default-partitions}')
  run kubectl patch brokercluster demo --type=merge \
    -p "{\"spec\": {\"rollout\": {\"paused\": true}, \"config\": {\"default-partitions\": \"$((${now:-1} % 9 + 1))\"}}}"
  until [ "$(of_demo '{.status.observedGeneration}')" = "$(of_demo '{.metadata.generation}')" ]; do sleep 0.2; done
  sleep 1
}

# Each line that is new, until every pod runs the setting.
watch() {
  local lines before='' end=$((SECONDS + longest))
  while [ $SECONDS -lt $end ]; do
    lines=$(kubectl chronik status demo | grep -E '^(rollout|permit)' || true)
    grep -vxF -e "$before" <<<"$lines" || true
    before=$lines
    if grep -q '3/3 pods up to date, UpToDate' <<<"$lines"; then return; fi
    sleep 0.5
  done
  echo "not done after $longest s; kubectl chronik plan says what it waits for" >&2
  return 1
}

say "The cluster before:"
run kubectl chronik status demo
say "Change a setting that brokers take up by a restart, and hold the rollout until we have seen the plan:"
change
say "Which broker restarts when, and whether its partitions can spare it now, as the brokers themselves answer:"
run kubectl chronik plan demo
say "Let it go. One broker at a time: the next one follows when the one before is back in every ISR."
run kubectl patch brokercluster demo --type=merge -p '{"spec": {"rollout": {"paused": false}}}'
watch
say "No broker was let go while a partition would have paid for it. What the operator decided, in its own words:"
run kubectl get events --field-selector involvedObject.kind=BrokerCluster,involvedObject.name=demo \
  --sort-by=.metadata.creationTimestamp -o custom-columns=EVENT:.reason,WHAT:.message | tail -n 15
