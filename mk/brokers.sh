#!/usr/bin/env bash
# Starts or stops three brokers on 127.0.0.1 without Kubernetes: brokers.sh start BINARY | stop.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD/target/brokers
voters=1@127.0.0.1:19093,2@127.0.0.1:29093,3@127.0.0.1:39093

# Ends one broker by the pid it left, if that pid is still a broker of ours, and waits for it.
stop_broker() {
  local folder=$1 pid
  [ -f "$folder/pid" ] || return 0
  pid=$(cat "$folder/pid")
  if grep -qa "$folder/data" "/proc/$pid/cmdline" 2>/dev/null; then
    kill -CONT "$pid" 2>/dev/null || true
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
  fi
  rm -f "$folder/pid"
}

stop_all() {
  local n
  for n in 1 2 3; do stop_broker "$root/$n" & done
  wait
}

write_start_script() {
  local n=$1 binary=$2 folder=$root/$1
  cat >"$folder/start.sh" <<SCRIPT
#!/usr/bin/env bash
# Starts broker $n again on its data, in the background, and rewrites pid.
exec </dev/null
setsid "$binary" run --data-dir "$folder/data" \\
  --listener PLAINTEXT=127.0.0.1:${n}9092 --peer-listener 127.0.0.1:${n}9093 --admin-listener 127.0.0.1:${n}9095 \\
  >>"$folder/log" 2>&1 &
echo \$! >"$folder/pid"
SCRIPT
  chmod +x "$folder/start.sh"
}

start_all() {
  local binary n began=$SECONDS
  binary=$(realpath "$1")
  stop_all
  rm -rf "$root"
  for n in 1 2 3; do
    mkdir -p "$root/$n"
    "$binary" format --data-dir "$root/$n/data" --cluster-id brokers --broker-id "$n" --initial-voters "$voters"
    write_start_script "$n" "$binary"
    "$root/$n/start.sh"
  done
  for n in 1 2 3; do await_ready "$n"; done
  echo "three brokers serve after $((SECONDS - began)) s:"
  echo "  Kafka    127.0.0.1:19092,127.0.0.1:29092,127.0.0.1:39092"
  echo "  admin    http://127.0.0.1:19095/v1/cluster (also 29095, 39095; /metrics, /readyz)"
  echo "  files    target/brokers/N/{pid,log,data,start.sh}; start.sh starts that one again"
}

await_ready() {
  local n=$1
  sleep 0.2
  for _ in $(seq 300); do
    # Looked at first: another process on the port would answer for a broker that could not bind it.
    if ! kill -0 "$(cat "$root/$n/pid")" 2>/dev/null; then
      echo "broker $n ended; the last lines of target/brokers/$n/log:" >&2
      tail -n 5 "$root/$n/log" >&2
      exit 1
    fi
    if curl -fsS -m 2 "http://127.0.0.1:${n}9095/readyz" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  echo "broker $n is not ready after 30 s: $(curl -sS -m 2 "http://127.0.0.1:${n}9095/readyz" 2>&1)" >&2
  exit 1
}

case ${1:-} in
start) start_all "${2:?the chronik-broker binary}" ;;
stop) stop_all ;;
*)
  echo "usage: brokers.sh start BINARY | stop" >&2
  exit 2
  ;;
esac
