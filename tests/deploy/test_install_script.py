"""deploy/install.sh on a machine of its own: an overlay over this one, gone with the test."""

import os
import subprocess

import pytest
from roles import ROOT

pytestmark = [pytest.mark.system, pytest.mark.timeout(280)]
SCRIPT = ROOT / "deploy/install.sh"
ENTER = """
set -e
mount -t tmpfs store "$STORE"
mkdir "$STORE/upper" "$STORE/work" "$STORE/root"
mount -t overlay -o "lowerdir=/,upperdir=$STORE/upper,workdir=$STORE/work" overlay "$STORE/root"
for point in /proc /dev /sys; do mount --rbind $point "$STORE/root$point"; done
mount -t tmpfs run "$STORE/root/run"
mkdir -p "$STORE/root$PROJECT"; mount --bind "$PROJECT" "$STORE/root$PROJECT"
exec chroot "$STORE/root" sh -c "$1"
"""
KUBECONFIG = (
    "apiVersion: v1\nkind: Config\nclusters:\n- name: a\n  cluster:\n    server: https://192.0.2.1:6443\n"
)
FIRST = """
set -e
mkdir -p /etc/kubernetes; printf '%s' "$KUBECONFIG_TEXT" >/etc/kubernetes/node.conf
$SCRIPT --no-packages --kubeconfig /etc/kubernetes/node.conf --node n1 --set IP_AUTODETECTION_METHOD=interface=eth.* | tee /tmp/first
echo "== second"; $SCRIPT --no-packages --kubeconfig /etc/kubernetes/node.conf
echo "== third"; $SCRIPT --no-packages --kubeconfig /etc/kubernetes/node.conf --set CALICO_IPV4POOL_IPIP=CrossSubnet
echo "== settings"; cat /etc/calico/pycalico.env
echo "== plugin"; CNI_COMMAND=VERSION /opt/cni/bin/calico </dev/null; /opt/cni/bin/calico -v; grep nodename /etc/cni/net.d/10-calico.conflist
echo "== programs"; /opt/pycalico/bin/calico-node -v; cat /etc/systemd/system/calico-node.service
echo "== uninstall"; touch /opt/cni/bin/portmap; $SCRIPT --uninstall
for place in /opt/pycalico /etc/calico/pycalico.env /opt/cni/bin/calico /etc/systemd/system/calico-node.service \
    /etc/cni/net.d/10-calico.conflist; do test ! -e $place; done
test -e /opt/cni/bin/portmap
echo "== again"; $SCRIPT --uninstall
"""


def inside(tmp_path, command, **environ):
    space = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "enter", command]
    env = {**os.environ, "STORE": str(tmp_path), "PROJECT": str(ROOT), "SCRIPT": str(SCRIPT), **environ}
    return subprocess.run(space, capture_output=True, text=True, env=env, timeout=270)


def test_it_installs_twice_changes_one_setting_and_removes_what_it_laid_down(tmp_path):
    done = inside(tmp_path, FIRST, KUBECONFIG_TEXT=KUBECONFIG)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = {}
    for block in ("== first\n" + done.stdout).split("== ")[1:]:
        name, _, text = block.partition("\n")
        parts[name] = text
    assert "installing the programs in /opt/pycalico" in parts["first"]
    assert [line for line in parts["second"].splitlines() if "there is no systemd" not in line] == []
    assert "wrote /etc/calico/pycalico.env" in parts["third"]
    assert "installing" not in parts["third"]
    settings = dict(line.split("=", 1) for line in parts["settings"].splitlines() if line[0] != "#")
    assert settings["NODENAME"] == "n1"
    assert settings["KUBECONFIG"] == "/etc/kubernetes/node.conf"
    assert settings["IP_AUTODETECTION_METHOD"] == "interface=eth.*"
    assert settings["CALICO_IPV4POOL_IPIP"] == "CrossSubnet"
    assert '"supportedVersions"' in parts["plugin"]
    assert '"nodename": "n1"' in parts["plugin"]
    assert "ExecStart=/opt/pycalico/bin/pycalico node run" in parts["programs"]
    assert "removed" in parts["again"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--kubeconfig /nowhere", "/nowhere cannot be read"),
        ("", "give --kubeconfig FILE"),
        ("--kubeconfig /etc/hostname", "names no server"),
        ("--kubeconfig /etc/hostname --set novalue", "--set takes NAME=VALUE"),
        ("--frobnicate", "unknown option --frobnicate"),
        ("--kubeconfig", "give --kubeconfig FILE"),
    ],
)
def test_a_mistake_is_one_line(words, text):
    done = subprocess.run(
        ["sh", "-c", f"{SCRIPT} --no-packages {words}"], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
