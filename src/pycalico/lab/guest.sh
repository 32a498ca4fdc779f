#!/bin/sh
# First process of the User-Mode Linux kernel, in two stages.
# Stage 1 lays a memory file system over the machine's own root, so that nothing written inside reaches the machine.
# Stage 2 mounts what a running system has, loads the network modules and hands over to the agent.
# From the kernel's command line: LAB_PYTHON, LAB_ADDRESS (with prefix), LAB_PORT, LAB_CLOCK.
# busybox's own applets are avoided until /proc is this kernel's: they start themselves through /proc/self/exe.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
modules=/usr/lib/uml/modules/$(uname -r)

if [ "${1:-}" != stage2 ]; then
    mount -t proc proc /proc
    mount -t tmpfs -o size=90% memory /mnt
    insmod "$modules/kernel/fs/overlayfs/overlay.ko"
    mkdir /mnt/upper /mnt/work /mnt/root
    mount -t overlay -o "lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work" root /mnt/root || exec poweroff -f
    cd /mnt/root
    mkdir -p mnt/machine
    umount /proc
    pivot_root . mnt/machine
    exec chroot . /bin/sh "$0" stage2
fi

exec </dev/null
cd /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=0666 devpts /dev/pts
for directory in /run /tmp /dev/shm; do mount -t tmpfs -o mode=1777 memory "$directory"; done
# Debian's ps refuses a cpuinfo without cores: the nodes see one with this line more.
{ cat /proc/cpuinfo; printf 'core id\t\t: 0\n\n'; } >/usr/lib/uml/cpuinfo
mount --bind /usr/lib/uml/cpuinfo /proc/cpuinfo
mkdir -p /run/lock "/lib/modules/$(uname -r)"
mount --bind "$modules" "/lib/modules/$(uname -r)"
hostname uml
for module in ipip vxlan veth bridge ip_tables iptable_filter iptable_nat iptable_mangle iptable_raw \
    ip6table_filter ip6table_nat ip6table_mangle ip6table_raw xt_set xt_conntrack xt_comment xt_mark xt_MASQUERADE \
    xt_addrtype xt_multiport xt_CT ip_set_hash_ip ip_set_hash_net ip_set_hash_ipport ip_set_hash_netnet \
    nf_conntrack_netlink; do
    modprobe -q "$module"
done
# This kernel has nf_tables without its ip family: the compatible iptables cannot work here, the older one does.
for family in iptables ip6tables; do
    for tool in "" -save -restore; do ln -sf "/usr/sbin/$family-legacy$tool" "/etc/alternatives/$family$tool"; done
done
ip link set lo up
ip address add "$LAB_ADDRESS" dev vec0
ip link set vec0 up
# The agent is not this process: the kernel would panic, instead of stopping, if it died.
"$LAB_PYTHON" -P -m pycalico.lab.agent "${LAB_ADDRESS%/*}" "$LAB_PORT"
poweroff -f
