"""A cluster installed from deploy/pycalico.yaml as it is: up, with sessions, and each program within its rights."""

import json
import os
import subprocess
import sys
import time

import pytest
from roles import ROOT, Rights, asked

from pycalico.lab.lab import Lab

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]
LIMIT_S = 60.0
WORK = """
kubectl run a --image=busybox:1.36 -- sleep 1000
kubectl create svc clusterip a --tcp=80:80
kubectl create -f - <<END
apiVersion: crd.projectcalico.org/v1
kind: CalicoNodeStatus
metadata: {name: w1}
spec: {classes: [Agent, BGP, Routes], node: k8s-w1, updatePeriodSeconds: 1}
END
kubectl patch kubecontrollersconfigurations default --type merge \
    -p '{"spec":{"controllers":{"node":{"hostEndpoint":{"autoCreate":"Enabled"}}}}}'
kubectl wait --for=condition=Ready pod/a --timeout=30s
kubectl delete pod a --now
for _ in $(seq 100); do
    kubectl get hostendpoints k8s-w1-auto-hep >/dev/null 2>&1 &&
    kubectl get caliconodestatuses w1 -o yaml | grep -q 'state: Established' && exit
    sleep 0.2
done
exit 1
"""


@pytest.fixture(scope="module")
def lab():
    name = f"m{os.getpid()}"
    command = [sys.executable, "-m", "pycalico", "lab"]
    began = time.monotonic()
    try:
        done = subprocess.run(
            [*command, "up", "--name", name, "--manifests", ROOT / "deploy"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        one = Lab(name)
        one.took_s = time.monotonic() - began
        yield one
    finally:
        subprocess.run([*command, "down", "--name", name], capture_output=True, check=True)


def sh(lab, node, command, timeout_s=60.0):
    done = lab.collect(node, ["sh", "-c", command], timeout_s=timeout_s)
    assert done.code == 0, f"{node}: {command}: {done.output}{done.errors}"
    return done.output


def test_it_comes_up_with_every_pod_ready(lab):
    assert lab.took_s < LIMIT_S
    pods = json.loads(sh(lab, "k8s-m", "kubectl get pods -A -o json"))["items"]
    images = {c["image"] for pod in pods for c in pod["spec"]["containers"]}
    assert len(pods) == 5
    assert {image.partition(":")[0] for image in images} == {"pycalico/pycalico"}
    for pod in pods:
        assert all(status["ready"] for status in pod["status"]["containerStatuses"]), pod["metadata"]["name"]


def test_every_session_is_established(lab):
    for node in ("k8s-m", "k8s-w0", "k8s-w1", "k8s-w2"):
        assert sh(lab, node, "calicoctl node status").count("| Established ") == 3


def test_calicoctl_shows_the_sessions_and_routes_of_all_nodes_at_once(lab):
    found = json.loads(sh(lab, "k8s-w1", "calicoctl bgp peers -o json"))
    assert len(found) == 12
    assert {row["state"] for row in found} == {"Established"}
    routes = json.loads(sh(lab, "k8s-m", "calicoctl bgp routes --node k8s-w0 -o json"))
    assert {row["node"] for row in routes} == {"k8s-w0"}
    assert sum(row["source"] == "NodeMesh" for row in routes) == 3
    assert "No resources" in sh(lab, "k8s-m", "kubectl get caliconodestatuses 2>&1")


def test_the_plugins_and_their_configuration_are_installed_from_the_config_map(lab):
    found = json.loads(sh(lab, "k8s-w0", "cat /etc/cni/net.d/10-calico.conflist"))
    assert found["name"] == "k8s-pod-network"
    assert (found["plugins"][0]["nodename"], found["plugins"][0]["mtu"]) == ("k8s-w0", 0)
    assert sh(lab, "k8s-w0", "/opt/cni/bin/calico -v").strip() == "v3.28.1"


def test_what_the_programs_ask_for_is_within_their_roles(lab):
    """Every request of the three accounts, from the API server's audit log, while pods come and go."""
    sh(lab, "k8s-m", WORK, timeout_s=90)
    events = [json.loads(line) for line in sh(lab, "k8s-m", "cat /var/log/apiserver-audit.log").splitlines()]
    requests = {request for request in map(asked, events) if request is not None}
    rights = {account: Rights(account) for account in {request[0] for request in requests}}
    assert set(rights) == {"calico-node", "calico-cni-plugin", "calico-kube-controllers"}
    refused = [
        request
        for request in sorted(requests)
        if not rights[request[0]].allow(*request[1:4], namespace=request[4], name=request[5])
    ]
    assert not refused
    done = {(account, resource, verb) for account, verb, _, resource, *_ in requests}
    for expected in (
        ("calico-node", "serviceaccounts/token", "create"),
        ("calico-node", "nodes/status", "patch"),
        ("calico-node", "caliconodestatuses", "update"),
        ("calico-cni-plugin", "pods/status", "patch"),
        ("calico-cni-plugin", "ipamhandles", "create"),
        ("calico-kube-controllers", "hostendpoints", "create"),
    ):
        assert expected in done
