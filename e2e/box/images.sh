#!/bin/bash
# Makes the two images every box needs, pause and busybox, as docker archives.
. "$(dirname "$0")/lib.sh"
. "$SRC/parts/image.sh"

make_images() (
  w=$(mktemp -d); trap 'rm -rf "$w"' EXIT
  mkdir -p "$w/pause" "$w/busybox/bin" "$w/busybox/tmp" "$w/busybox/etc"
  chmod 755 "$w/pause" "$w/busybox"; chmod 1777 "$w/busybox/tmp"
  cp "$PROGRAMS/pause" "$w/pause/pause"
  cp /bin/busybox "$w/busybox/bin/busybox"
  busybox --list | grep -vx busybox | while read -r applet; do ln -s busybox "$w/busybox/bin/$applet"; done
  echo 'root:x:0:0:root:/:/bin/sh' >"$w/busybox/etc/passwd"
  image_make $PAUSE_IMAGE "$w/pause" "$IMAGES/pause.tar" --entrypoint '["/pause"]' --user 65535:65535
  image_make $BUSYBOX_IMAGE "$w/busybox" "$IMAGES/busybox.tar" --cmd sh --env PATH=/bin
)

need_root
stamp=$(digest "$SRC/images.sh" "$SRC/parts/image.sh" "$PROGRAMS/pause" /bin/busybox)
if [ "$(cat "$IMAGES/stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi
step "make the pause and busybox images" make_images
echo "$stamp" >"$IMAGES/stamp"
