#!/bin/bash
# image-chronik.sh build BINARY...  makes the image docker.io/chronik/chronik:dev without Docker, from scratch
# image-chronik.sh load             gives it to every node of the running box
#
# CHRONIK_IMAGE names another image, whose archive is kept beside the first.
#
# The same image as the Dockerfile's: the binaries in /usr/local/bin, what they need of the C
# library, a user that is not root, and nothing else.
. "$(dirname "$0")/lib.sh"
for part in process network nodes image; do . "$SRC/parts/$part.sh"; done

IMAGE=${CHRONIK_IMAGE:-docker.io/chronik/chronik:dev}
# chronik.tar is the archive of the tag dev, which the scripts and documents speak of.
TAG=${IMAGE##*:}
ARCHIVE=$IMAGES/chronik-$TAG.tar
if [ "$TAG" = dev ]; then ARCHIVE=$IMAGES/chronik.tar; fi

usage() { sed -n '2,3s/^# /usage: /p' "$0" >&2; exit 2; }

# libraries BINARY...: the files the dynamic linker opens, and the linker itself.
libraries() {
  local out
  for binary; do
    out=$(ldd "$binary" 2>&1) || { grep -q 'not a dynamic executable\|statically linked' <<<"$out" && continue; die "ldd $binary: $out"; }
    ! grep -q 'not found' <<<"$out" || die "$binary needs a library that is not here: $(grep 'not found' <<<"$out")"
    grep -oE '/[^ ]+' <<<"$out"
  done | sort -u
}

fill() {
  local root=$1 lib; shift
  mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs" "$root/tmp"
  chmod 755 "$root"; chmod 1777 "$root/tmp"
  install -m 755 "$@" "$root/usr/local/bin/"
  for lib in $(libraries "$@"); do install -D "$(readlink -f "$lib")" "$root$lib"; done
  # Names are looked up in /etc/hosts, then by DNS; glibc's own default asks a service first.
  echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
  printf 'root:x:0:0:root:/:/sbin/nologin\nchronik:x:65532:65532:chronik:/tmp:/sbin/nologin\n' >"$root/etc/passwd"
  printf 'root:x:0:\nchronik:x:65532:\n' >"$root/etc/group"
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
}

build() (
  w=$(mktemp -d); trap 'rm -rf "$w"' EXIT
  fill "$w" "$@"
  image_make "$IMAGE" "$w" "$ARCHIVE" --user 65532:65532 --workingdir /tmp --env PATH=/usr/local/bin \
    --entrypoint '["/usr/local/bin/chronik-broker"]' --label org.opencontainers.image.title=chronik
)

load() {
  local n pids=() pid
  for n in $NODES; do
    node_alive "$n" || { note "node$n is down: it takes the image when it starts"; continue; }
    images_import "$n" "$ARCHIVE" & pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid"; done
}

need_root
case ${1:-} in
  build)
    shift
    [ $# -gt 0 ] || usage
    for binary; do [ -x "$binary" ] || die "no program at '$binary'"; done
    stamp=$(echo "$IMAGE" | cat - "$SRC/image-chronik.sh" "$SRC/parts/image.sh" "$@" | digest -)
    if [ "$(cat "$ARCHIVE.stamp" 2>/dev/null)" = "$stamp" ] && [ -f "$ARCHIVE" ]; then exit 0; fi
    step "make the image $IMAGE" build "$@"
    echo "$stamp" >"$ARCHIVE.stamp" ;;
  load)
    [ -f "$ARCHIVE" ] || die "no image yet: image-chronik.sh build BINARY..."
    [ "$(owner)" = "$ROOT" ] || die "no box of $ROOT is up: run make box"
    lock_box
    step "load $IMAGE into the nodes" load ;;
  *) usage ;;
esac
