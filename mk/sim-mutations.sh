#!/usr/bin/env bash
# Breaks a copy of the tree with each patch of src/sim/mutations in turn, and tells after how many seeds the simulation
# notices. Exits 1 if one is not noticed within 200. Names of mutations as arguments choose among them.
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=200
place=$PWD/target/mutations
tree=$place/tree
results=$place/results
missed=0

# Cargo looks at times: what is not as it was must look new, and nothing else.
copy_tree() {
  local file
  git ls-files | while read -r file; do
    if [ -f "$file" ] && ! cmp --quiet "$file" "$tree/$file"; then
      mkdir -p "$tree/$(dirname "$file")"
      cp "$file" "$tree/$file"
    fi
  done
}

# The crates that no patch touches are the same as in the build that `make sim` makes: they need not be built again.
copy_build() {
  local part
  [ ! -d "$place/build/sim" ] && [ -d target/sim/deps ] || return 0
  mkdir -p "$place/build/sim"
  for part in deps build .fingerprint; do cp --archive "target/sim/$part" "$place/build/sim/"; done
}

try() {
  local name=$1 patch=$PWD/src/sim/mutations/$1.patch output=$place/$1.txt found
  if ! patch --directory "$tree" --strip 1 --silent --forward --no-backup-if-mismatch <"$patch"; then
    echo "$name: the patch does not apply: bring it in line with the code" >&2
    copy_tree
    missed=1
    return
  fi
  if ! (cd "$tree" && CARGO_TARGET_DIR=$place/build cargo build --quiet --locked --profile sim -p chronik-sim 2>"$output"); then
    echo "$name: it does not build:" >&2
    tail -n 20 "$output" >&2
    missed=1
  elif "$place/build/sim/chronik-sim" --seeds $seeds --lines 0 >"$output" 2>&1; then
    printf '%-44s not noticed in %s seeds\n' "$name" $seeds | tee -a "$results"
    missed=1
  else
    found=$(grep -m 1 VIOLATES "$output")
    printf '%-44s %5s  %s\n' "$name" "$(sed -E 's/seed ([0-9]+) .*/\1/' <<<"$found")" "${found#*VIOLATES: }" | tee -a "$results"
  fi
  copy_tree
}

copy_tree
copy_build
: >"$results"
printf '%-44s %5s  %s\n' mutation seeds "what did not hold"
if [ $# -gt 0 ]; then
  for name in "$@"; do try "$name"; done
else
  for patch in src/sim/mutations/*.patch; do try "$(basename "$patch" .patch)"; done
fi
exit $missed
