#!/bin/bash
# Installs the Debian packages the box runs on. Does nothing when all are there.
. "$(dirname "$0")/lib.sh"

PACKAGES="containerd runc containernetworking-plugins iptables ipset conntrack socat iproute2 util-linux buildah busybox-static openssl ca-certificates"

missing() {
  local p
  for p in $PACKAGES; do
    [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null)" = "ii " ] || echo "$p"
  done
}

apt() { DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" </dev/null; }

# Debian's switch for "start no daemon at install": the box starts what it needs itself. Marked, so
# that the next run removes what a killed one left, and never one that somebody else put there.
POLICY=/usr/sbin/policy-rc.d MARK="# made by chronik's e2e/box/install.sh; safe to remove"
policy_remove() { ! grep -qsxF "$MARK" $POLICY || rm -f $POLICY; }

# An old package list names versions that are gone: renew it only when it does not serve.
install_packages() {
  local rc=0
  [ -e $POLICY ] || { printf '#!/bin/sh\n%s\nexit 101\n' "$MARK" >$POLICY.new; chmod +x $POLICY.new; mv $POLICY.new $POLICY; }
  # shellcheck disable=SC2046
  { apt install --no-install-recommends $(missing) || { apt update && apt install --no-install-recommends $(missing); }; } >"$LOG/install.log" 2>&1 || rc=$?
  policy_remove
  [ $rc = 0 ] || { tail -20 "$LOG/install.log" >&2; die "apt-get failed: see $LOG/install.log"; }
}

need_root
[ "$(uname -s)" = Linux ] || die "needs Linux; this is $(uname -s)"
command -v apt-get >/dev/null && command -v dpkg-query >/dev/null ||
  die "needs Debian (it installs packages with apt-get); install by hand, then run build.sh, images.sh and up.sh: $PACKAGES"
mkdir -p "$LOG"
policy_remove
todo=$(missing)
[ -n "$todo" ] || exit 0
step "install Debian packages: $(echo $todo)" install_packages
[ -z "$(missing)" ] || die "these packages did not install: $(echo $(missing))"
