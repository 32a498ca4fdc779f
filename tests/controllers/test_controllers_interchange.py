"""What the mirrors and the node controller leave in etcd, against what upstream's v3.28.1 left there.

The recording was made by upstream's program from the same objects and changes. Where UPSTREAM_BIN names a folder
with upstream's programs, theirs runs beside ours on an etcd of its own and both must come to the recording.
"""

import json
import subprocess
from pathlib import Path

import pytest
from controllers_etcd import UPSTREAM
from controllers_lab import BIN, until

RECORDING = Path(__file__).parents[1] / "golden/data/controllers/etcd.json"
CALICO = """
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n1, labels: {mine: "1", rack: theirs}}
spec:
  bgp: {ipv4Address: 192.168.1.1/24, ipv4IPIPTunnelAddr: 10.9.0.1}
  orchRefs: [{nodeName: n1, orchestrator: k8s}]
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: calico-n2}
spec:
  bgp: {ipv4Address: 192.168.1.2/24}
  orchRefs: [{nodeName: n2, orchestrator: k8s}]
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: foreign}
spec: {bgp: {ipv4Address: 192.168.1.3/24}}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: of-n2}
spec: {node: calico-n2, peerIP: 192.168.1.9, asNumber: 64512}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: by-hand, namespace: web}
spec: {selector: all()}
---
apiVersion: projectcalico.org/v3
kind: Profile
metadata: {name: by-hand}
spec: {labelsToApply: {a: b}}
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: n1-k8s-a-eth0, namespace: web, labels: {old: "1"}}
spec: {orchestrator: k8s, node: n1, pod: a, endpoint: eth0, containerID: c1, interfaceName: cali1,
  ipNetworks: [10.9.0.5/32], profiles: [kns.web], mac: ee:ee:ee:ee:ee:ee,
  ports: [{name: http, protocol: TCP, port: 80}]}
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: calico--n2-k8s-b-eth0, namespace: web}
spec: {orchestrator: k8s, node: calico-n2, pod: b, endpoint: eth0, containerID: c2, interfaceName: cali2,
  ipNetworks: [10.9.0.6/32], profiles: [kns.web]}
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: n1-k8s-orphan-eth0, namespace: web, labels: {kept: "1"}}
spec: {orchestrator: k8s, node: n1, pod: orphan, endpoint: eth0, containerID: c3, interfaceName: cali3,
  ipNetworks: [10.9.0.7/32], profiles: [kns.web]}
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: n1-cni-c4-eth0, namespace: web}
spec: {orchestrator: cni, node: n1, workload: c4, containerID: c4, endpoint: eth0, interfaceName: cali4,
  ipNetworks: [10.9.0.8/32], profiles: [kns.web]}
"""
EVERY_SHAPE = {
    "podSelector": {
        "matchLabels": {"app": "x", "a.b/c": "d"},
        "matchExpressions": [
            {"key": "k", "operator": "In", "values": ["b", "a"]},
            {"key": "n", "operator": "NotIn", "values": ["z"]},
            {"key": "e", "operator": "Exists"},
            {"key": "g", "operator": "DoesNotExist"},
        ],
    },
    "policyTypes": ["Ingress", "Egress"],
    "ingress": [
        {},
        {
            "from": [
                {"podSelector": {}},
                {"namespaceSelector": {}},
                {"namespaceSelector": {"matchLabels": {"team": "a"}}, "podSelector": {"matchLabels": {"p": "q"}}},
                {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
                {"ipBlock": {"cidr": "fd00::/64"}},
            ],
            "ports": [
                {"port": 443, "protocol": "TCP"},
                {"port": 80},
                {"port": 81, "protocol": "TCP"},
                {"port": 8000, "endPort": 8010, "protocol": "TCP"},
                {"port": "http", "protocol": "TCP"},
                {"port": 53, "protocol": "UDP"},
                {"protocol": "SCTP"},
            ],
        },
    ],
    "egress": [{"to": []}, {"ports": [{"port": 1, "protocol": "UDP"}], "to": [{"podSelector": {}}]}],
}  # fmt: skip


def before(kubernetes):
    """What is there when the controllers start."""
    kubernetes.create("Namespace", "web", metadata={"labels": {"team": "a", "x.io/y": "b"}})
    kubernetes.create("Namespace", "passing")
    kubernetes.create("ServiceAccount", "robot", "web", metadata={"labels": {"role": "r"}})
    kubernetes.create("NetworkPolicy", "every.shape", "web", spec=EVERY_SHAPE)
    kubernetes.create("NetworkPolicy", "deny", "passing", spec={"podSelector": {}})
    kubernetes.create("NetworkPolicy", "deny", "web", spec={"podSelector": {}, "policyTypes": ["Egress"]})
    kubernetes.create("Node", "n1", metadata={"labels": {"rack": "a", "zone": "1"}})
    kubernetes.create("Node", "n2", metadata={"labels": {"rack": "b"}})
    kubernetes.pod("a", "web", "n1", "10.9.0.5", {"app": "x"}, "robot")
    kubernetes.pod("b", "web", "n2", "10.9.0.6", {"app": "y"})
    kubernetes.pod("early", "web", "n1")


def after(kubernetes):
    """What happens while they run."""
    kubernetes.create("Namespace", "new", metadata={"labels": {"l": "1"}})
    kubernetes.create("NetworkPolicy", "late", "new", spec={"podSelector": {}, "egress": [{}]})
    kubernetes.patch("Namespace", "web", metadata={"labels": {"team": "b", "x.io/y": None}})
    kubernetes.patch("ServiceAccount", "robot", "web", metadata={"labels": {"role": None, "more": "1"}})
    kubernetes.patch("NetworkPolicy", "deny", "web", spec={"podSelector": {"matchLabels": {"a": "b"}}})
    kubernetes.patch("Pod", "a", "web", metadata={"labels": {"app": "z", "and": "more"}})
    kubernetes.patch("Node", "n1", metadata={"labels": {"zone": None, "rack": "c", "new": "1"}})
    kubernetes.delete("NetworkPolicy", "deny", "passing")
    kubernetes.delete("ServiceAccount", "default", "passing")
    kubernetes.delete("Namespace", "passing")
    kubernetes.delete("Pod", "b", "web")
    kubernetes.delete("Node", "n2")


def apply(etcd):
    command = [BIN / "calicoctl", "apply", "-f", "-", "--allow-version-mismatch"]
    environ = {"PATH": "/usr/bin", "HOME": "/root", **etcd.environ()}
    subprocess.run(command, input=CALICO, text=True, env=environ, check=True, capture_output=True)


def comparable(dump):
    """Without what is random: the cluster's GUID."""
    for value in dump.values():
        value.get("spec", {}).pop("clusterGUID", None)
    return dump


def record(dump):
    RECORDING.parent.mkdir(exist_ok=True)
    RECORDING.write_text(json.dumps(dump, indent=1, sort_keys=True) + "\n")


@pytest.mark.parametrize("who", ["ours", *(["upstream"] if UPSTREAM else [])])
def test_etcd_holds_what_upstream_leaves_there(who, etcd, kubernetes, run, monkeypatch):
    wanted = json.loads(RECORDING.read_text())
    program = Path(UPSTREAM) / "kube-controllers" if who == "upstream" else None
    before(kubernetes)
    apply(etcd)
    run(program=program, AUTO_HOST_ENDPOINTS="enabled")
    root = "/calico/resources/v3/projectcalico.org/"
    until(lambda: {"kns.web", "ksa.web.robot"} <= {key.rsplit("/")[-1] for key in etcd.dump(root)})
    until(lambda: root + "hostendpoints/calico-n2-auto-hep" in etcd.dump())
    until(lambda: etcd.dump()[root + "nodes/n1"]["metadata"].get("annotations"))
    after(kubernetes)
    try:
        until(lambda: comparable(etcd.dump()) == wanted, 20)
    except AssertionError:
        assert comparable(etcd.dump()) == wanted
