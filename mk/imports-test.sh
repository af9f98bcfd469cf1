#!/usr/bin/env bash
# Shows that the import table's check finds a breach: plants one at a time in a copy of the tree, and expects a refusal.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
{ git ls-files --cached --others --exclude-standard || find Cargo.* src e2e mk bench fuzz -type f; } |
  grep -E '^(Cargo|src/|e2e/|mk/|bench/|fuzz/)' | while read -r file; do [ ! -f "$file" ] || cp --parents "$file" "$copy"; done

# refused TEXT FILE LINE: with the line at the file's end, the check fails and says the text.
refused() {
  local text=$1 file=$copy/$2 line=$3 said
  cp "$file" "$copy/kept"
  printf '%s\n' "$line" >>"$file"
  if said=$("$copy/mk/imports.sh" 2>&1) || ! grep -qF "$text" <<<"$said"; then
    echo "imports-test: '$line' in $2 was not refused with '$text', but: $said" >&2
    exit 1
  fi
  cp "$copy/kept" "$file"
}

"$copy/mk/imports.sh" >/dev/null
refused 'core does no I/O' src/core/ids.rs 'use std::{fs, io};'
refused 'core does no I/O' src/core/replication/isr.rs 'use std::time::Instant;'
refused 'only src/broker/quorum imports raft' src/broker/handlers/produce.rs 'use raft::RawNode;'
refused 'handlers never touch sockets' src/broker/handlers/fetch.rs 'use tokio::net::TcpStream;'
refused 'the replica engine is sans-io' src/broker/replica/partition.rs 'use std::thread;'
refused 'quorum does no I/O' src/broker/quorum/group.rs 'use std::net::TcpStream;'
refused 'no client and no async' src/controller/topic/validate.rs 'async fn asks() {}'
refused 'no client and no async' src/cli/plan/model.rs 'async fn asks() {}'
# The last table of the manifest becomes the one with the dependency; the lock file may follow, as in a real change.
sed -i 's/--locked/--offline/' "$copy/mk/imports.sh"
refused 'chronik-core may not depend on tokio' src/core/Cargo.toml $'[dependencies.tokio]\nworkspace = true'
refused 'chronik-broker may not depend on kube' src/broker/Cargo.toml $'[dependencies.kube]\nworkspace = true'
refused 'chronik-controller may not depend on chronik-broker' src/controller/Cargo.toml \
  $'[dependencies.chronik-broker]\npath = "../broker"'
refused 'chronik-cli may not depend on chronik-controller' src/cli/Cargo.toml \
  $'[dependencies.chronik-controller]\npath = "../controller"'
echo "import table: each of 12 planted breaches is refused"
