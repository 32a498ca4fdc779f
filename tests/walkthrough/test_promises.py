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
            seen = set()
            assert within(
                10 * running.patience,
                lambda where=where, seen=seen: (
                    everybody == (seen.add(fetch(running, where, spec["clusterIP"], port=8080)) or seen)
                ),
            ), seen
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


def test_a_second_up_says_so(running):
    done = pycalico("lab", "up", "--name", running.name)
    assert done.returncode == 0
    assert "is up already" in done.stdout
