#!/bin/sh
# Installs what pycalico needs: Debian packages, then a virtual environment with locked versions.
# Idempotent: what is there already is left alone. Says in one line what is missing where it cannot help.
set -eu
cd "$(dirname "$0")/.."

die() { echo "setup: $*" >&2; exit 1; }

KUBECTL=v1.30.4
fetch_kubectl() {
    python3 - "$KUBECTL" <<'PYTHON' || die "kubectl is missing and could not be fetched: install it, then try again"
import hashlib, os, platform, sys, urllib.request
arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
url = f"https://dl.k8s.io/release/{sys.argv[1]}/bin/linux/{arch}/kubectl"
program = urllib.request.urlopen(url, timeout=120).read()
if hashlib.sha256(program).hexdigest() != urllib.request.urlopen(url + ".sha256", timeout=30).read().decode().strip():
    sys.exit("setup: the checksum of kubectl is not that of its release")
with open("/usr/local/bin/kubectl.new", "wb") as file:
    file.write(program)
os.chmod("/usr/local/bin/kubectl.new", 0o755)
os.replace("/usr/local/bin/kubectl.new", "/usr/local/bin/kubectl")
PYTHON
}

# command:package pairs; a package is installed only when its command is absent.
WANTED="bird:bird birdc:bird iptables:iptables ipset:ipset nft:nftables runsvdir:runit sv:runit busybox:busybox-static \
tcpdump:tcpdump tshark:tshark etcd:etcd-server etcdctl:etcd-client curl:curl linux.uml:user-mode-linux ip:iproute2 ping:iputils-ping \
conntrack:conntrack netstat:net-tools ps:procps modprobe:kmod jq:jq ethtool:ethtool wg:wireguard-tools wireguard-go:wireguard-go \
kubectl:kubernetes-client"
case "${1:-}" in --no-packages) WANTED="";; esac

PATH="$PATH:/usr/sbin:/sbin"
missing=""
for pair in $WANTED; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
# The plugins that follow calico in the conflist are not on the PATH.
[ -z "$WANTED" ] || [ -x /usr/lib/cni/portmap ] || missing="$missing containernetworking-plugins"
# The distribution's Python before another on the PATH: one that was built without its optimisations is a tenth slower.
find_python() {
    for python in /usr/bin/python3 "$(command -v python3 || true)"; do
        "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    done
    return 1
}
find_python || missing="$missing python3 python3-venv"
if [ -n "$missing" ]; then
    missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
    command -v apt-get >/dev/null 2>&1 || die "these packages are missing and there is no apt-get to install them: $missing"
    [ "$(id -u)" = 0 ] || die "these packages are missing: $missing- run 'apt-get install $missing' as root, then try again"
    echo "setup: installing $missing"
    log=$(mktemp)
    apt-get update -qq >"$log" 2>&1 || { tail -3 "$log" >&2; die "apt-get update failed: check the machine's package sources"; }
    # A daemon that a package would start (bird, etcd) must not run on the host itself.
    case " $missing " in *" kubernetes-client "*)
        # Ubuntu has no such package: there the project's own release serves.
        if ! apt-cache show kubernetes-client >/dev/null 2>&1; then
            missing=$(printf '%s' "$missing" | sed 's/kubernetes-client//')
            fetch_kubectl
        fi;;
    esac
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >"$log" 2>&1 ||
        { tail -5 "$log" >&2; die "apt-get could not install: $missing"; }
    rm -f "$log"
fi

find_python || die "python3 is older than 3.11: install a newer one"
stamp=.venv/.locked
want=$(cat requirements.lock pyproject.toml | sha256sum | cut -c1-64)
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$want" ]; then
    echo "setup: making .venv with the locked versions"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install -q --disable-pip-version-check "uv==0.9.*" || die "pip could not install uv: check the package index"
    .venv/bin/uv pip install -q --compile-bytecode --python .venv/bin/python --require-hashes -r requirements.lock || die "uv could not install requirements.lock"
    .venv/bin/uv pip install -q --python .venv/bin/python --no-deps -e . || die "uv could not install pycalico itself"
    rm -f .venv/bin/calico .venv/bin/calico-ipam
    printf %s "$want" >"$stamp"
fi
# Programs that run for a moment, in the place of those that pip makes: with their paths filled in and
# their byte code in one file, made anew when a source has changed.
if [ ! -x .venv/bin/calico ] || [ -n "$(find src/pycalico -name '*.py' -newer .venv/bin/calico | head -n 1)" ]; then
    .venv/bin/python -m pycalico.calicoctl.starter .venv/bin || die "could not write calicoctl to .venv/bin"
    .venv/bin/python -m pycalico.cni.launch .venv/bin || die "could not write the plugins to .venv/bin"
fi
