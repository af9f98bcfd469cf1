#!/usr/bin/env bash
# Checks the import table of ARCHITECTURE.md: which part may use which crate, and which folder which module.
# Prints every breach with file and line; exits 1 if there is one. `mk/imports-test.sh` shows that it finds them.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0

breach() {
  printf 'import table: %s\n' "$1" >&2
  failed=1
}

# tree PACKAGE [OPTION...]: the crates below a package, one name a line, itself first. Ends the check if cargo cannot tell.
tree() {
  local package=$1
  shift
  cargo tree --quiet --locked --package "$package" --edges normal --prefix none --format '{p}' "$@" | awk '{print $1}'
}

# only PACKAGE NAME...: the package depends directly on nothing but these crates.
only() {
  local package=$1 allowed found name
  shift
  allowed=" $* "
  found=$(tree "$package" --depth 1) || exit 1
  for name in $(tail -n +2 <<<"$found" | sort -u); do
    [[ $allowed == *" $name "* ]] || breach "$package may not depend on $name (allowed: $*)"
  done
}

# never PACKAGE NAME...: none of these crates is anywhere below the package.
never() {
  local package=$1 found name
  shift
  found=$(tree "$package") || exit 1
  for name in "$@"; do
    ! grep -qx "$name" <<<"$found" || breach "$package may not depend on $name, directly or not"
  done
}

# not_in PATTERN WHY PATH...: no source line below the paths matches; `//` comments and folders of tests are ignored.
not_in() {
  local pattern=$1 why=$2 hits
  shift 2
  hits=$(grep -rnE --include='*.rs' "$pattern" "$@" 2>/dev/null | grep -vE '^[^:]+:[0-9]+:\s*//|/tests/' || true)
  [ -z "$hits" ] || breach "$why:"$'\n'"$hits"
}

only chronik-core bytes serde serde_json thiserror uuid
never chronik-core tokio kube rand mio
only chronik-api chronik-core k8s-openapi kube schemars serde serde_json thiserror jiff
never chronik-broker kube k8s-openapi chronik-api
never chronik-controller chronik-broker raft kafka-protocol
never chronik-cli chronik-broker chronik-controller raft kafka-protocol
never chronik-fuzz kube k8s-openapi chronik-api chronik-controller chronik-cli

not_in '\bstd::(\{.*)?(fs|net|thread|process)\b|\b(Instant|SystemTime)\b' 'core does no I/O and reads no clock' src/core
raft_users=$(find src/broker -name '*.rs' -not -path 'src/broker/quorum/*')
# shellcheck disable=SC2086
not_in '\b(use raft\b|raft::[A-Za-z{]|eraftpb)' 'only src/broker/quorum imports raft' $raft_users
not_in '\b(tokio::(\{.*)?(net|io)|std::net::(\{.*)?(Tcp|Udp))' 'handlers never touch sockets' src/broker/handlers
not_in '\b(tokio::(\{.*)?(net|fs|spawn|time)|std::(\{.*)?(net|fs|thread)|Instant::now|SystemTime::now)\b' \
  'quorum does no I/O and reads no clock' src/broker/quorum
engine_files=$(find src/broker/replica -name '*.rs' -not -name clock.rs -not -name driver.rs -not -name propose.rs)
# shellcheck disable=SC2086
not_in '\b(tokio::(\{.*)?(net|fs|spawn|time)|std::(\{.*)?(net|fs|thread)|Instant::now|SystemTime::now)\b' \
  'the replica engine is sans-io' $engine_files
pure=$(find src/controller -name 'validate*.rs' -o -name 'build*.rs' -o -name 'plan*.rs' 2>/dev/null || true)
pure+=" src/cli/plan/model.rs src/cli/plan/text.rs src/cli/show"
if [ -n "$pure" ]; then
  # shellcheck disable=SC2086
  not_in '(\bkube::(Client|Api|client)\b|\basync fn\b|\.await\b)' 'plan, build and validate use no client and no async' $pure
fi

[ "$failed" = 0 ] && echo "import table: holds"
exit "$failed"
