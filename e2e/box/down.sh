#!/bin/bash
# Stops the box and removes all it left: processes, mounts, namespaces, groups, and the cluster's data.
# Built programs, images and logs stay. Works on whatever a killed run left behind.
. "$(dirname "$0")/lib.sh"
for part in process network nodes client; do . "$SRC/parts/$part.sh"; done

need_root
lock_box
t0=$(now_ms)
# The names are the machine's: a box that another folder started is stopped all the same.
other=$(owner)
if [ -n "$other" ] && [ "$other" != "$ROOT" ]; then note "this is the box of $other"; paths "$other"; fi

if group_empty "" && [ ! -d $RUN ] && [ ! -d "$STATE" ] && [ ! -d "$STATE.gone" ] && ! ip netns list | grep -q "^$NS-"; then
  note "no box is up"; exit
fi
echo "==> stop the box"
group_kill ""
for n in $NODES; do node_down "$n"; done
client_down
switch_down
unmount_below $RUN "$STATE"
group_remove ""
# These three places are fixed in kubelet and in the CNI library, whatever their settings.
[ ! -d /var/log/containers ] || find /var/log/containers -lname "$STATE/*" -delete
rm -f /var/lib/cni/results/$CGROUP-*
if [ "$(ls -A /var/lib/kubelet 2>/dev/null)" = device-plugins ]; then rm -rf /var/lib/kubelet; fi
# Renamed first: a removal killed half-way must not leave half a cluster to be repaired.
[ ! -d "$STATE" ] || { rm -rf --one-file-system "$STATE.gone"; mv "$STATE" "$STATE.gone"; }
rm -rf --one-file-system "$STATE.gone" "$BOX/pid" "$BOX/kubeconfig" $RUN
note "stopped: $(since "$t0")"
