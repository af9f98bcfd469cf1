# Processes and the control groups that hold them. Sourced.
#
# Each daemon starts inside a control group of its own, and all it ever forks stays there. So
# "what is ours" needs no guess from names or stale pid files: it is what the groups hold, also
# after a script was killed at any point.

# track PATH: the folder of a group in the one hierarchy that is used to find processes.
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then TRACK=/sys/fs/cgroup; else TRACK=/sys/fs/cgroup/pids; fi
track() { echo "$TRACK/$CGROUP/$1"; }

# hierarchies: where kubelet expects a node's group: one folder on cgroup v2, one per controller on v1.
hierarchies() {
  if [ "$TRACK" = /sys/fs/cgroup ]; then echo $TRACK; return; fi
  find /sys/fs/cgroup -mindepth 1 -maxdepth 1 -type d
}

# group_make PATH...: makes groups below ours in every hierarchy, with the controllers handed down.
group_make() {
  local h path dir part
  for h in $(hierarchies); do
    for path; do
      dir=$h
      group_delegate "$dir"
      for part in $CGROUP ${path//\// }; do
        dir=$dir/$part
        mkdir -p "$dir" 2>/dev/null || continue 2
        group_inherit_cpus "$dir"
        [ "$dir" = "$h/$CGROUP/$path" ] || group_delegate "$dir"
      done
    done
  done
}

# v1: a new cpuset takes no process before its cpus and mems are set.
group_inherit_cpus() {
  local f
  for f in cpuset.cpus cpuset.mems; do
    if [ "$TRACK" != /sys/fs/cgroup ] && [ -f "$1/$f" ] && [ -z "$(cat "$1/$f")" ]; then cat "${1%/*}/$f" >"$1/$f"; fi
  done
}

# v2: children get only the controllers their parent names.
group_delegate() {
  local c
  [ -f "$1/cgroup.subtree_control" ] && [ "$TRACK" = /sys/fs/cgroup ] || return 0
  for c in $(cat "$1/cgroup.controllers"); do echo "+$c" >"$1/cgroup.subtree_control" 2>/dev/null || true; done
}

# group_pids PATH: every process in the group and below it.
group_pids() {
  local dir; dir=$(track "$1")
  [ -d "$dir" ] || return 0
  find "$dir" -name cgroup.procs -exec cat {} + 2>/dev/null || true
}

# group_kill PATH: kills all of it at once, and again what was forked meanwhile, until it is empty.
group_kill() {
  local pids i
  for i in $(seq 100); do
    pids=$(group_pids "$1")
    [ -n "$pids" ] || return 0
    # shellcheck disable=SC2086
    kill -9 $pids 2>/dev/null || true
    sleep 0.05
  done
  die "processes of $1 do not die: $pids"
}

# group_stop PATH SECONDS: asks politely first.
group_stop() {
  local pids; pids=$(group_pids "$1")
  # shellcheck disable=SC2086
  [ -z "$pids" ] || kill $pids 2>/dev/null || true
  wait_for "$2" "$1 to stop" group_empty "$1" 2>/dev/null || true
  group_kill "$1"
}
group_empty() { [ -z "$(group_pids "$1")" ]; }

group_remove() {
  local h
  for h in $(hierarchies); do
    [ ! -d "$h/$CGROUP/$1" ] || find "$h/$CGROUP/$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}

# start_daemon NAME GROUP COMMAND...: runs it detached in GROUP; log and pid under NAME.
start_daemon() {
  local name=$1 group=$2; shift 2
  mkdir -p "$LOG" "$BOX/pid" "$(track "$group")"
  (
    echo $BASHPID >"$(track "$group")/cgroup.procs"
    exec 9>&-
    exec setsid "$@"
  ) </dev/null >>"$LOG/$name.log" 2>&1 &
  echo $! >"$BOX/pid/$name.pid"
}

# daemon_alive NAME GROUP: the recorded process still lives, and in our group: a reused pid does not count.
daemon_alive() {
  local pid; pid=$(cat "$BOX/pid/$1.pid" 2>/dev/null) && [ -n "$pid" ] &&
    grep -qsx "$pid" "$(track "$2")/cgroup.procs" && ! grep -qs '^State:.Z' "/proc/$pid/status"
}

# ensure_daemon NAME GROUP COMMAND...: starts it unless it runs; leftovers in its group die first.
ensure_daemon() {
  if daemon_alive "$1" "$2"; then return 0; fi
  group_kill "$2"
  start_daemon "$@"
}
