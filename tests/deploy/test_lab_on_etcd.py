"""A cluster installed from deploy/etcd/pycalico-etcd.yaml, its etcd a pod of the control plane."""

import json
import os
import subprocess
import sys

import pytest
from roles import ETCD_MANIFEST, Rights, asked, objects, of_kind

from pycalico.lab.lab import Lab
from pycalico.lab.plan import CONTROL_PLANE

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]
ENDPOINTS = f"http://{CONTROL_PLANE.address}:2379"
ETCD = f"""
apiVersion: v1
kind: Pod
metadata: {{name: etcd, namespace: kube-system}}
spec:
  hostNetwork: true
  nodeName: {CONTROL_PLANE.name}
  tolerations: [{{operator: Exists}}]
  containers:
    - name: etcd
      image: etcd
      command: [etcd, --data-dir=/var/lib/etcd-calico, "--listen-client-urls=http://0.0.0.0:2379",
                "--advertise-client-urls={ENDPOINTS}", "--listen-peer-urls=http://127.0.0.1:2380"]
"""
WORK = """
kubectl run a --image=busybox:1.36 --labels=app=a -- sleep 1000
kubectl create svc clusterip a --tcp=80:80
kubectl create -f - <<END
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: default}
spec: {podSelector: {matchLabels: {app: a}}, policyTypes: [Ingress]}
END
kubectl wait --for=condition=Ready pod/a --timeout=30s
for _ in $(seq 100); do
    calicoctl get networkpolicy knp.default.closed -o yaml 2>/dev/null | grep -q 'app == .a.' && break
    sleep 0.1
done
calicoctl get networkpolicy knp.default.closed -o name
calicoctl get workloadendpoint -o json
"""

#: Whichever of the two iptables Felix has chosen.
PROGRAMMED = """
for _ in $(seq 100); do
    { iptables-legacy-save; iptables-nft-save; } 2>/dev/null | grep -q knp.default.closed && exit
    sleep 0.1
done
exit 1
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    name = f"e{os.getpid()}"
    folder = tmp_path_factory.mktemp("manifests")
    text = ETCD_MANIFEST.read_text()
    assert text.count("http://<ETCD_IP>:<ETCD_PORT>") == 1
    (folder / "calico.yaml").write_text(text.replace("http://<ETCD_IP>:<ETCD_PORT>", ENDPOINTS))
    (folder / "etcd.yaml").write_text(ETCD)
    command = [sys.executable, "-m", "pycalico", "lab"]
    try:
        done = subprocess.run(
            [*command, "up", "--name", name, "--manifests", folder], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield Lab(name)
    finally:
        subprocess.run([*command, "down", "--name", name], capture_output=True, check=True)


def sh(lab, node, command):
    environ = f"export DATASTORE_TYPE=etcdv3 ETCD_ENDPOINTS={ENDPOINTS}; "
    done = lab.collect(node, ["sh", "-c", environ + command], timeout_s=60.0)
    assert done.code == 0, f"{node}: {command}: {done.output}{done.errors}"
    return done.output


def test_pods_policies_and_sessions_are_in_etcd_and_within_the_roles(lab):
    assert sh(lab, "k8s-w0", "calicoctl node status").count("| Established ") == 3
    shown = sh(lab, "k8s-m", WORK)
    [endpoint] = json.loads(shown[shown.index("{") :])["items"]
    assert endpoint["spec"]["pod"] == "a"
    assert endpoint["spec"]["ipNetworks"]
    # The policy is Felix's, and nothing of Calico's is in the Kubernetes API.
    sh(lab, endpoint["spec"]["node"], PROGRAMMED)
    assert "No resources" in sh(lab, "k8s-m", "kubectl get ippools.crd.projectcalico.org 2>&1")
    pools = json.loads(sh(lab, "k8s-m", "calicoctl get ippool -o json"))["items"]
    assert [pool["metadata"]["name"] for pool in pools] == ["default-ipv4-ippool"]
    sh(lab, "k8s-m", "kubectl delete pod a --now")
    # What the programs asked the Kubernetes API for, and what they may.
    events = [json.loads(line) for line in sh(lab, "k8s-m", "cat /var/log/apiserver-audit.log").splitlines()]
    requests = {request for request in map(asked, events) if request is not None}
    items = objects(ETCD_MANIFEST)
    rights = {account: Rights(account, items) for account in {request[0] for request in requests}}
    assert set(rights) == {"calico-node", "calico-cni-plugin", "calico-kube-controllers"}
    refused = [
        one for one in sorted(requests) if not rights[one[0]].allow(*one[1:4], namespace=one[4], name=one[5])
    ]
    assert not refused


def test_keys_and_variables_are_upstreams():
    items = objects(ETCD_MANIFEST)
    data = of_kind("ConfigMap", items)["calico-config"]["data"]
    assert set(data) == {
        "etcd_endpoints", "etcd_ca", "etcd_cert", "etcd_key", "typha_service_name", "calico_backend", "veth_mtu",
        "cni_network_config",
    }  # fmt: skip
    json.loads(data["cni_network_config"].replace("__CNI_MTU__", "0"))
    node = of_kind("DaemonSet", items)["calico-node"]["spec"]["template"]["spec"]
    controllers = of_kind("Deployment", items)["calico-kube-controllers"]["spec"]["template"]["spec"]
    variables = {"ETCD_ENDPOINTS", "ETCD_CA_CERT_FILE", "ETCD_KEY_FILE", "ETCD_CERT_FILE"}
    for spec, more in ((node, {"CALICO_K8S_NODE_REF"}), (controllers, {"ENABLED_CONTROLLERS"})):
        [container] = spec["containers"]
        names = {one["name"] for one in container["env"]}
        assert variables | more <= names
        assert not names & {"DATASTORE_TYPE", "NODENAME"}
        for spot in spec["containers"] + spec.get("initContainers", []):
            mounted = {mount["name"] for mount in spot["volumeMounts"]}
            assert "etcd-certs" in mounted
            assert mounted <= {volume["name"] for volume in spec["volumes"]}
    assert not [item for item in items if item["kind"] == "CustomResourceDefinition"]
