#!/usr/bin/env bash
# The process tests cut links with iptables and need root for it: installs it where it is missing.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
if [ "$(id -u)" != 0 ]; then
  echo "the process tests cut links between brokers with iptables: run them as root, for example: sudo make processes" >&2
  exit 1
fi
command -v iptables-restore >/dev/null && exit 0
echo "    install the Debian package iptables"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update </dev/null && apt-get -qq install --no-install-recommends iptables </dev/null >/dev/null
