#!/bin/sh
# First process of a node, in mount, UTS, IPC and pid namespaces of its own.
# node.sh NAME STORE [MOUNT...]: STORE is an empty directory; MOUNTs are further file systems of the machine to keep.
# The node's root is the machine's under an overlay in memory: what it writes is gone with it and seen by nobody else.
# Says "ready" on stdout, then stays as the reaper of the node's orphans.
set -eu
name=$1
store=$2
shift 2
mount -t tmpfs -o mode=755 "$name" "$store"
mkdir "$store/upper" "$store/work" "$store/root"
mount -t overlay -o "lowerdir=/,upperdir=$store/upper,workdir=$store/work" "$name" "$store/root"
for point in "$@"; do mkdir -p "$store/root$point"; mount --rbind "$point" "$store/root$point"; done
cd "$store/root"
mkdir -p proc sys dev run tmp mnt
mount -t proc proc proc
[ ! -f usr/lib/uml/cpuinfo ] || mount --bind usr/lib/uml/cpuinfo proc/cpuinfo
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
pivot_root . mnt
umount -l mnt
mkdir -p run/lock run/netns run/calico opt/cni/bin etc/cni/net.d etc/kubernetes var/lib/calico var/log/calico/cni
[ -L host ] || ln -s / host
hostname "$name"
echo "$name" >etc/hostname
# The init of busybox only collects the dead here: its table is empty.
echo "::sysinit:/bin/true" >etc/inittab
echo ready
exec busybox init </dev/null >/dev/null 2>&1
