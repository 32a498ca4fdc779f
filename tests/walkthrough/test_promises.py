"""What the cluster must do beyond the walkthrough's commands."""

import itertools
import json
import re
import threading
import time

import pytest
import yaml
from running_lab import pycalico

from pycalico.lab import plan

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

WEB = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "tolerations": [{"operator": "Exists"}],
                "terminationGracePeriodSeconds": 1,
                "containers": [
                    {
                        "name": "web",
                        "image": "busybox:1.36",
                        "command": ["sh", "-c", "hostname >index.html; exec busybox httpd -f -p 80 -h ."],
                    }
                ],
            },
        },
    },
}
CLOSED = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "closed", "namespace": "default"},
    "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]},
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 8080, "targetPort": 80}]},
}
TIGHT = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: tight}
spec: {cidr: 10.213.0.0/29, blockSize: 29, nodeSelector: all(), %s}
"""
NODES = [node.name for node in plan.NODES]
ADDRESS = {node.name: node.address for node in plan.NODES}


@pytest.fixture(scope="module")
def web(running):
    """node → (pod, address) of a web server on every node."""
    running.sh("k8s-m", "kubectl apply -f -", stdin=yaml.safe_dump(WEB))
    running.sh(
        "k8s-m", f"kubectl rollout status ds/web --timeout={int(60 * running.patience)}s", timeout_s=90
    )
    items = json.loads(running.sh("k8s-m", "kubectl get pod -l app=web -o json"))["items"]
    pods = {item["spec"]["nodeName"]: (item["metadata"]["name"], item["status"]["podIP"]) for item in items}
    assert sorted(pods) == sorted(NODES)
    yield pods
    running.sh("k8s-m", "kubectl delete ds web", timeout_s=60)


def fetch(running, where, address, path="/", port=80):
    """The body of a page; bash speaks just enough HTTP, and every machine has it."""
    ask = f"exec 3<>/dev/tcp/{address}/{port}; printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
    answer = running.sh(where, f'timeout {5 * running.patience} bash -c "{ask}"')
    head, _, body = answer.replace("\r", "").partition("\n\n")
    assert " 200 " in head.split("\n")[0]
    return body.strip()


def is_open(running, pod, address):
    return running.tries(f"pod/{pod}", f"timeout 0.3 bash -c 'exec 3<>/dev/tcp/{address}/80'")


def cluster_state(running):
    """What no restart may change: pods with their restarts, addresses, routes."""
    pods = running.sh("k8s-m", "kubectl get pod -A -o custom-columns="
                               ":.metadata.name,:.status.podIP,:.status.containerStatuses[*].restartCount")  # fmt: skip
    blocks = running.sh("k8s-m", "calicoctl ipam show --show-blocks")
    routes = {node: sorted(running.sh(node, "ip -4 route").splitlines()) for node in NODES}
    return {"pods": sorted(pods.split("\n")), "blocks": blocks, "routes": routes}


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(NODES, 2)))
def test_every_pod_reaches_every_pod(running, web, source, target):
    assert fetch(running, f"pod/{web[source][0]}", web[target][1]) == web[target][0]


@pytest.mark.parametrize("node", NODES)
def test_pods_reach_the_outside_as_their_node(running, web, node):
    assert fetch(running, f"pod/{web[node][0]}", plan.OUTSIDE_ADDRESS, "/cgi-bin/source") == ADDRESS[node]


@pytest.mark.parametrize("node", NODES)
def test_nodes_reach_their_pods(running, web, node):
    assert fetch(running, node, web[node][1]) == web[node][0]


def test_a_service_leads_to_every_pod(running, web):
    running.sh("k8s-m", "kubectl apply -f -", stdin=yaml.safe_dump(SERVICE))
    try:
        spec = json.loads(running.sh("k8s-m", "kubectl get service web -o json"))["spec"]
        everybody = {name for name, _ in web.values()}
        for where in ("k8s-m", f"pod/{web['k8s-w1'][0]}"):
            reach = f"timeout 1 bash -c 'exec 3<>/dev/tcp/{spec['clusterIP']}/8080'"
            assert within(10 * running.patience, lambda where=where, reach=reach: running.tries(where, reach))
            ask = f"exec 3<>/dev/tcp/{spec['clusterIP']}/8080; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; tail -n 1 <&3"
            loop = f'for i in $(seq 40); do timeout {5 * running.patience} bash -c "{ask}"; done'
            seen = set(running.sh(where, loop, timeout_s=120).split())
            assert seen == everybody
        assert fetch(running, "k8s-m", ADDRESS["k8s-w0"], port=spec["ports"][0]["nodePort"]) in everybody
    finally:
        running.sh("k8s-m", "kubectl delete service web")


def test_a_policy_closes_and_reopens_a_port_within_a_second(running, web):
    limit_s = 1.0 * running.patience
    source, address = web["k8s-w1"][0], web["k8s-w0"][1]
    assert is_open(running, source, address)
    running.sh("k8s-m", "kubectl apply -f -", stdin=yaml.safe_dump(CLOSED))
    try:
        assert within(limit_s, lambda: not is_open(running, source, address)), "still open"
    finally:
        running.sh("k8s-m", "kubectl delete networkpolicy closed")
    assert within(limit_s, lambda: is_open(running, source, address)), "still closed"


def within(limit_s, check):
    deadline = time.monotonic() + limit_s
    while not check():
        if time.monotonic() > deadline:
            return False
    return True


@pytest.mark.parametrize(
    ("node", "program"),
    [
        ("k8s-w0", "calico-node -felix"),
        ("k8s-w0", "bird -R"),
        ("k8s-w0", "calico-node -confd"),
        ("k8s-m", "pycalico apiserver"),
    ],
    ids=["felix", "bird", "confd", "api-server"],
)
def test_a_killed_program_comes_back_and_nothing_is_lost(running, web, node, program):
    before = cluster_state(running)
    lost = {}
    seconds = 4 * running.patience

    def stream():
        ping = f"ping -n -i 0.1 -c {int(seconds * 10)} -W 2 {web['k8s-w0'][1]}"
        done = running.lab.collect(f"pod/{web['k8s-w1'][0]}", ["sh", "-c", ping], timeout_s=seconds + 60)
        lost["percent"] = re.search(r"([\d.]+)% packet loss", done.output).group(1)

    traffic = threading.Thread(target=stream)
    if "apiserver" not in program:
        traffic.start()
        time.sleep(0.5 * running.patience)
    old = running.sh(node, f"pgrep -f '[{program[0]}]{program[1:]}' | tail -1")
    assert old, f"{program} does not run"
    running.sh(node, f"kill -9 {old}")
    back = f"test -n \"$(pgrep -f '[{program[0]}]{program[1:]}' | grep -vx {old})\""
    assert within(15 * running.patience, lambda: running.tries(node, back)), f"{program} did not come back"
    if "apiserver" not in program:
        traffic.join()
        assert lost["percent"] == "0"
    settled = within(
        60 * running.patience, lambda: running.tries("k8s-m", "kubectl get --raw /readyz >/dev/null")
    )
    assert settled
    assert within(60 * running.patience, lambda: established(running))
    assert within(20 * running.patience, lambda: cluster_state(running) == before), (
        before,
        cluster_state(running),
    )


def established(running):
    return all(
        running.sh(node, "birdc -s /var/run/calico/bird.ctl show protocols || true").count("Established") == 3
        for node in NODES
    )


def borrower(running, name, node):
    """A pod whose address is of the pool that has one block; returns the address once the plugin has told it."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": {"cni.projectcalico.org/ipv4pools": '["tight"]'}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "busybox:1.36", "command": ["sleep", "1000"]}],
        },
    }
    running.sh("k8s-m", "kubectl apply -f -", stdin=yaml.safe_dump(pod))
    ask = f"kubectl get pod {name} -o json"
    told = []

    def is_told():
        notes = json.loads(running.sh("k8s-m", ask))["metadata"]["annotations"]
        told.append(notes.get("cni.projectcalico.org/podIP", "").partition("/")[0])
        return told[-1]

    assert within(30 * running.patience, is_told), f"{name} has no address"
    return told[-1]


def test_13_a_borrowed_address_is_reached_from_its_blocks_owner_and_strict_affinity_lends_none(running):
    """One block of eight addresses for three nodes."""
    spec = json.loads(running.sh("k8s-m", "calicoctl get ippool default-ipv4-ippool -o json"))["spec"]
    modes = f"ipipMode: {spec['ipipMode']}, vxlanMode: {spec['vxlanMode']}"
    running.sh("k8s-m", "calicoctl apply -f -", stdin=TIGHT % modes)
    pods = ["owner", "borrows-far", "borrows-near"]
    try:
        borrower(running, "owner", "k8s-w1")
        for name, node in (("borrows-far", "k8s-w0"), ("borrows-near", "k8s-w2")):
            address = borrower(running, name, node)
            assert address.startswith("10.213.0.")
            reach = f"ping -c 1 -W 0.3 {address}"
            assert within(1.0 * running.patience, lambda reach=reach: running.tries("k8s-w1", reach))
            assert within(1.0 * running.patience, lambda reach=reach: running.tries("pod/owner", reach))
        blocks = running.sh("k8s-m", "calicoctl ipam show --show-borrowed")
        assert blocks.count("k8s-w1") == 2, blocks
        running.sh("k8s-m", "calicoctl ipam configure --strictaffinity=true")
        pods.append("refused")
        with pytest.raises(AssertionError, match="refused has no address"):
            borrower(running, "refused", "k8s-m")
        running.sh("k8s-m", "calicoctl ipam configure --strictaffinity=false")
        assert borrower(running, "refused", "k8s-m").startswith("10.213.0.")
    finally:
        running.sh("k8s-m", "calicoctl ipam configure --strictaffinity=false")
        running.sh("k8s-m", f"kubectl delete pod --ignore-not-found {' '.join(pods)}", timeout_s=60)
        running.sh("k8s-m", "calicoctl delete ippool tight")


def test_a_second_up_says_so(running):
    done = pycalico("lab", "up", "--name", running.name)
    assert done.returncode == 0
    assert "is up already" in done.stdout
