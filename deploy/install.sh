#!/bin/sh
# pycalico on a node without an image: Debian 12, Ubuntu 24.04 or newer, as root, from a checkout of the project.
#
#   deploy/install.sh --kubeconfig FILE [--node NAME] [--set NAME=VALUE]... [--no-packages]
#   deploy/install.sh --uninstall
#
# Idempotent: run it again after an update of the checkout, or with other settings. What it lays down:
#   /opt/pycalico                      the programs (a Python environment with locked versions)
#   /etc/calico/pycalico.env           the services' settings; --set writes one, others stay as they are
#   /etc/systemd/system/calico-node.service
#   /opt/cni/bin/calico, calico-ipam; /etc/cni/net.d/10-calico.conflist
# PYCALICO_ROOT puts it under another root and starts nothing; that is for tests and for images of machines.
set -eu

PACKAGES="python3 python3-venv bird iptables ipset nftables runit iproute2 conntrack procps kmod containernetworking-plugins"
root=${PYCALICO_ROOT:-}
prefix=/opt/pycalico
settings=$root/etc/calico/pycalico.env
unit=$root/etc/systemd/system/calico-node.service
bin=$root/opt/cni/bin
net=$root/etc/cni/net.d
source=$(cd "$(dirname "$0")/.." && pwd)

die() { echo "install: $*" >&2; exit 1; }
say() { echo "install: $*"; }
has_systemd() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

# place FILE MODE: standard input becomes FILE, in one step; says whether anything changed.
place() {
    mkdir -p "${1%/*}"
    (umask 077; cat >"$1.new") || die "cannot write $1"
    chmod "$2" "$1.new"
    if cmp -s "$1.new" "$1"; then rm "$1.new"; return; fi
    mv "$1.new" "$1"
    say "wrote $1"
    changed=yes
}

uninstall() {
    if has_systemd && [ -e "$unit" ]; then
        # BIRD takes leave of its neighbours, so that they do not wait for it.
        systemctl kill --kill-whom=main --signal=HUP calico-node.service 2>/dev/null && sleep 2
        systemctl disable --now calico-node.service >/dev/null 2>&1 || true
    fi
    rm -f "$unit" "$settings" "$net/10-calico.conflist" "$net/calico-kubeconfig"
    for name in calico calico-ipam; do
        if [ "$(head -n 1 "$bin/$name" 2>/dev/null)" = "#!$prefix/bin/python3" ] ||
           [ "$(head -n 1 "$bin/$name" 2>/dev/null)" = "#!$prefix/bin/python" ]; then rm -f "$bin/$name"; fi
    done
    rm -rf "$root$prefix" "$root/etc/calico/confd/config" "$root/var/lib/calico" "$root/var/run/calico"
    if has_systemd; then systemctl daemon-reload; fi
    say "removed; routes and rules of the data plane stay in the kernel until the machine starts again"
}

check_machine() {
    [ "$(id -u)" = 0 ] || die "this needs root: run it with sudo"
    [ -r "$source/requirements.lock" ] && [ -r "$source/deploy/requirements.lock" ] ||
        die "$source is no checkout of pycalico: run deploy/install.sh from one"
    command -v apt-get >/dev/null || [ -z "$packages" ] || die "there is no apt-get: use the image instead, or --no-packages"
    [ -n "$kubeconfig" ] || die "which cluster? give --kubeconfig FILE"
    [ -r "$kubeconfig" ] || die "$kubeconfig cannot be read: give the kubeconfig of the service account calico-node"
    grep -q '^ *server:' "$kubeconfig" || die "$kubeconfig names no server: it is no kubeconfig"
    kubeconfig=$(cd "$(dirname "$kubeconfig")" && pwd)/${kubeconfig##*/}
}

install_packages() {
    missing=""
    for package in $packages; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing="$missing $package"
    done
    if [ -n "$missing" ]; then
        say "installing$missing"
        log=$(mktemp)
        apt-get update -qq >"$log" 2>&1 || die "apt-get update failed: $(tail -n 1 "$log")"
        # The package of BIRD would start a daemon of its own, on the port that calico-node needs.
        DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >"$log" 2>&1 ||
            die "apt-get could not install$missing: $(tail -n 1 "$log")"
        rm -f "$log"
    fi
    if has_systemd; then systemctl disable --now bird.service bird6.service >/dev/null 2>&1 || true; fi
}

install_programs() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || die "python3 is missing or older than 3.11"
    stamp=$root$prefix/.installed
    want=$(cd "$source" && find src deploy/requirements.lock pyproject.toml -type f ! -name '*.pyc' | LC_ALL=C sort |
        xargs -d '\n' sha256sum | sha256sum | cut -c1-64)
    if [ "$(cat "$stamp" 2>/dev/null || true)" = "$want" ]; then return; fi
    say "installing the programs in $prefix"
    [ -x "$root$prefix/bin/pip" ] || python3 -m venv "$root$prefix" || die "python3 -m venv failed: is python3-venv there?"
    pip="$root$prefix/bin/python -m pip --disable-pip-version-check --no-cache-dir -q"
    $pip install --require-hashes -r "$source/deploy/requirements.lock" || die "pip could not install the libraries: look above"
    $pip install --no-deps --force-reinstall "$source" || die "pip could not install pycalico itself: look above"
    "$root$prefix/bin/python" -m compileall -q "$root$prefix/lib" || true
    printf %s "$want" >"$stamp"
    changed=yes
}

# Settings that are there stay; those given, and those that are missing, are written.
write_settings() {
    {
        printf '%s\n' "# Settings of calico-node, as in Calico's manifest. Written by deploy/install.sh --set NAME=VALUE."
        {
            [ ! -f "$settings" ] || grep -v '^#' "$settings" || true
            printf '%s\n' DATASTORE_TYPE=kubernetes WAIT_FOR_DATASTORE=true "NODENAME=${node:-$(hostname | tr '[:upper:]' '[:lower:]')}" \
                NAMESPACE=kube-system CALICO_NETWORKING_BACKEND=bird CLUSTER_TYPE=k8s,bgp IP=autodetect CALICO_DISABLE_FILE_LOGGING=true \
                CALICO_IPV4POOL_IPIP=Always CALICO_IPV4POOL_VXLAN=Never CALICO_IPV6POOL_VXLAN=Never \
                FELIX_DEFAULTENDPOINTTOHOSTACTION=ACCEPT FELIX_IPV6SUPPORT=false FELIX_HEALTHENABLED=true
        } | awk -F= -v given="$given" '
            BEGIN { count = split(given, lines, "\n"); for (i = 1; i <= count; i++) if (lines[i] != "") {
                name = substr(lines[i], 1, index(lines[i], "=") - 1); if (!(name in value)) order[++known] = name
                value[name] = lines[i] } }
            NF && !($1 in value) { order[++known] = $1; value[$1] = $0 }
            END { for (i = 1; i <= known; i++) print value[order[i]] }' | LC_ALL=C sort
    } | place "$settings" 0600
}

write_unit() {
    place "$unit" 0644 <<UNIT
[Unit]
Description=Calico's services of this node (pycalico)
After=network-online.target
Wants=network-online.target
Conflicts=bird.service bird6.service

[Service]
EnvironmentFile=$settings
Environment=PATH=$prefix/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RuntimeDirectory=calico
RuntimeDirectoryPreserve=yes
StateDirectory=calico
LogsDirectory=calico/cni
ExecStart=$prefix/bin/pycalico node run
# Peers keep the routes while the services start again: BIRD does not take leave.
KillSignal=SIGKILL
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
UNIT
}

install_plugins() {
    mkdir -p "$bin" "$net"
    for name in bandwidth host-local loopback portmap tuning; do
        if [ ! -e "$bin/$name" ] && [ -x "/usr/lib/cni/$name" ]; then cp "/usr/lib/cni/$name" "$bin/$name"; say "wrote $bin/$name"; fi
    done
    for name in calico calico-ipam; do place "$bin/$name" 0755 <"$root$prefix/bin/$name"; done
    nodename=$(sed -n 's/^NODENAME=//p' "$settings")
    place "$net/10-calico.conflist" 0644 <<CONFLIST
{
  "name": "k8s-pod-network",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "calico",
      "log_level": "info",
      "log_file_path": "/var/log/calico/cni/cni.log",
      "datastore_type": "kubernetes",
      "nodename": "$nodename",
      "mtu": 0,
      "ipam": {"type": "calico-ipam"},
      "policy": {"type": "k8s"},
      "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"}
    },
    {"type": "portmap", "snat": true, "capabilities": {"portMappings": true}},
    {"type": "bandwidth", "capabilities": {"bandwidth": true}}
  ]
}
CONFLIST
}

start() {
    if ! has_systemd; then
        say "there is no systemd here: start '$prefix/bin/pycalico node run' with the settings of $settings"
        return
    fi
    systemctl daemon-reload
    systemctl enable -q calico-node.service
    if [ -n "$changed" ] || ! systemctl is-active -q calico-node.service; then
        systemctl restart calico-node.service || die "calico-node does not start: journalctl -u calico-node"
        say "calico-node runs: journalctl -u calico-node, $prefix/bin/calicoctl node status"
    else
        say "everything is as it should be"
    fi
}

kubeconfig="" node="" given="" packages=$PACKAGES changed="" remove=""
while [ $# -gt 0 ]; do
    case $1 in
    --kubeconfig) kubeconfig=${2:-}; shift;;
    --node) node=${2:-}; shift;;
    --set)
        case ${2:-} in [A-Za-z_]*=*) ;; *) die "--set takes NAME=VALUE, not '${2:-}'";; esac
        given="$given$2
"; shift;;
    --no-packages) packages="";;
    --uninstall) remove=yes;;
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0;;
    *) die "unknown option $1: see --help";;
    esac
    if [ $# -gt 0 ]; then shift; fi
done

if [ -n "$remove" ]; then
    [ "$(id -u)" = 0 ] || die "this needs root: run it with sudo"
    uninstall
    exit 0
fi
check_machine
given="KUBECONFIG=$kubeconfig
${node:+NODENAME=$node
}$given"
install_packages
install_programs
write_settings
write_unit
install_plugins
start
