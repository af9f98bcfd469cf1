#!/bin/bash
# The API server dies and starts again: api.sh restart. Returns when it answers.
. "$(dirname "$0")/lib.sh"
for part in process network control; do . "$SRC/parts/$part.sh"; done

[ "${1:-}" = restart ] && [ $# = 1 ] || { echo "usage: api.sh restart" >&2; exit 2; }
need_root
lock_box
[ "$(owner)" = "$ROOT" ] || die "no box of $ROOT is up: run make box"
t0=$(now_ms)
group_kill host/apiserver
api_up
wait_for 60 "the API server to answer (see $LOG/apiserver.log)" api_ready
note "the API server restarted: $(since "$t0")"
