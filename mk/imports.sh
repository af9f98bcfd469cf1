#!/usr/bin/env bash
# Checks the import table of ARCHITECTURE.md: which part may use which crate, and which folder which module.
# Prints every breach with file and line; exits 1 if there is one.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0

breach() {
  printf 'import table: %s\n' "$1" >&2
  failed=1
}

# A member's direct, non-dev dependencies, one name a line.
direct_dependencies() {
  cargo tree --quiet --locked --package "$1" --edges normal --depth 1 --prefix none --format '{p}' |
    tail -n +2 | awk '{print $1}' | sort -u
}

# only PACKAGE NAME...: the package depends on nothing but these crates.
only() {
  local package=$1 allowed name
  shift
  allowed=" $* "
  for name in $(direct_dependencies "$package"); do
    [[ $allowed == *" $name "* ]] || breach "$package may not depend on $name (allowed: $*)"
  done
}

# never PACKAGE NAME...: none of these crates is anywhere below the package.
never() {
  local package=$1 name
  shift
  for name in "$@"; do
    if cargo tree --quiet --locked --package "$package" --edges normal --prefix none --format '{p}' |
      awk '{print $1}' | grep -qx "$name"; then
      breach "$package may not depend on $name, directly or not"
    fi
  done
}

# not_in PATTERN WHY PATH...: no source line below the paths matches; `//` comments are ignored.
not_in() {
  local pattern=$1 why=$2 hits
  shift 2
  hits=$(grep -rnE --include='*.rs' "$pattern" "$@" 2>/dev/null | grep -vE '^[^:]+:[0-9]+:\s*//' || true)
  [ -z "$hits" ] || breach "$why:"$'\n'"$hits"
}

only chronik-core bytes serde serde_json thiserror uuid
never chronik-core tokio kube rand mio
only chronik-api chronik-core k8s-openapi kube schemars serde serde_json thiserror jiff
never chronik-broker kube k8s-openapi chronik-api
never chronik-controller chronik-broker raft kafka-protocol

not_in '\b(std::(fs|net|thread|process)|std::time::(Instant|SystemTime))\b' 'core does no I/O and reads no clock' src/core
raft_users=$(find src/broker -name '*.rs' -not -path 'src/broker/quorum/*')
# shellcheck disable=SC2086
not_in '\b(use raft\b|raft::[A-Za-z{]|eraftpb)' 'only src/broker/quorum imports raft' $raft_users
not_in '\b(tokio::net|std::net::(Tcp|Udp)|tokio::io)\b' 'handlers never touch sockets' src/broker/handlers
not_in '\b(tokio::(net|fs|spawn|time)|std::net|std::fs|Instant::now|SystemTime::now)\b' \
  'quorum does no I/O and reads no clock' src/broker/quorum
engine_files=$(find src/broker/replica -name '*.rs' -not -name clock.rs -not -name driver.rs -not -name propose.rs)
# shellcheck disable=SC2086
not_in '\b(tokio::(net|fs|spawn|time)|std::(net|fs|thread)|Instant::now|SystemTime::now)\b' \
  'the replica engine is sans-io' $engine_files
pure=$(find src/controller -name 'validate*.rs' -o -name 'build*.rs' -o -name 'plan*.rs' 2>/dev/null || true)
if [ -n "$pure" ]; then
  # shellcheck disable=SC2086
  not_in '(\bkube::(Client|Api|client)\b|\basync fn\b|\.await\b)' 'plan, build and validate use no client and no async' $pure
fi

[ "$failed" = 0 ] && echo "import table: holds"
exit "$failed"
