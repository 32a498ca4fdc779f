"""Whatever happens, in whatever order, with servers and controllers killed in between: in the end etcd holds what
follows from what Kubernetes has.
"""

import json
import os
import random
import time

import msgspec
import pytest
from controllers_etcd import ROOT
from controllers_lab import until

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.node import Node, NodeSpec, OrchRef
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint, WorkloadEndpointSpec
from pycalico.datastore.errors import AlreadyExists, DatastoreError, NotFound, Unauthorized
from pycalico.datastore.kubernetes import core
from pycalico.datastore.kubernetes.convert import networkpolicy
from pycalico.datastore.kubernetes.rest import StatusError

SPACES = ["default", "a", "b", "c"]
NAMES = ["x", "y", "z"]
NODES = ["n1", "n2", "n3"]
STEPS = int(os.environ.get("ANYTHING_STEPS", "150"))
SEEDS = range(int(os.environ.get("ANYTHING_SEEDS", "1")))


class Script:
    """Random changes of everything that the controllers look at."""

    def __init__(self, seed, kubernetes, etcd, server, run):
        self.pick = random.Random(seed)
        self.kubernetes, self.etcd, self.server, self._run = kubernetes, etcd, server, run
        self.calico = etcd.client()
        self.replica = None
        self.start()

    def start(self):
        self.replica = self._run(RECONCILER_PERIOD="1s", AUTO_HOST_ENDPOINTS="enabled")

    def labels(self):
        return {key: self.pick.choice("12") for key in "kl" if self.pick.random() < 0.6}

    def step(self):
        rare = [self.kill_controllers, self.kill_api, self.kill_etcd]
        common = [
            self.make,
            self.make,
            self.make,
            self.change,
            self.change,
            self.remove,
            self.drift,
            self.pause,
        ]
        action = self.pick.choice(rare) if self.pick.random() < 0.05 else self.pick.choice(common)
        try:
            action()
        except (AlreadyExists, NotFound, Unauthorized):
            # It is there already, or not, or its namespace is ending: as good as any other step.
            return
        except StatusError as error:
            if error.code not in (404, 409):
                raise

    def where(self):
        kind = self.pick.choice(["Namespace", "ServiceAccount", "NetworkPolicy", "Pod", "Node"])
        if kind == "Namespace":
            return kind, self.pick.choice(SPACES[1:]), ""
        if kind == "Node":
            return kind, self.pick.choice(NODES), ""
        return kind, self.pick.choice(NAMES), self.pick.choice(SPACES)

    def make(self):
        kind, name, space = self.where()
        if kind == "NetworkPolicy":
            self.kubernetes.create(kind, name, space, spec=self.policy())
        elif kind == "Pod":
            node = self.pick.choice(NODES)
            labels = self.labels()
            self.kubernetes.pod(name, space, node, labels=labels)
            self.endpoint(name, space, node)
        else:
            self.kubernetes.create(kind, name, space, metadata={"labels": self.labels()})
            if kind == "Node":
                spec = NodeSpec(orch_refs=[OrchRef(node_name=name, orchestrator="k8s")])
                self.calico.create(Node(metadata=ObjectMeta(name=name, labels={"own": "1"}), spec=spec))

    def endpoint(self, pod, space, node):
        """As the CNI plugin: with whatever labels the pod had when it looked."""
        spec = WorkloadEndpointSpec(
            orchestrator="k8s", node=node, pod=pod, endpoint="eth0", interface_name="cali1", container_id="c"
        )
        meta = ObjectMeta(name=f"{node}-k8s-{pod}-eth0", namespace=space, labels=self.labels())
        self.calico.create(WorkloadEndpoint(metadata=meta, spec=spec))

    def policy(self):
        ports = [
            {"port": self.pick.choice([80, 443, "http"])},
            {"port": 90, "endPort": self.pick.choice([80, 99])},
        ]
        return {
            "podSelector": {"matchLabels": self.labels()},
            "ingress": [{"ports": [port]} for port in ports if self.pick.random() < 0.5],
        }

    def change(self):
        kind, name, space = self.where()
        if kind == "NetworkPolicy":
            self.kubernetes.patch(kind, name, space, spec=self.policy())
        else:
            labels = {"k": None, "l": None} | self.labels()
            self.kubernetes.patch(kind, name, space, metadata={"labels": labels})

    def remove(self):
        kind, name, space = self.where()
        if kind == "Pod":
            found = self.kubernetes.get(self.kubernetes.path(kind, space, name))
            endpoint = f"{found['spec']['nodeName']}-k8s-{name}-eth0"
            self.kubernetes.delete(kind, name, space)
            self.calico.delete(WorkloadEndpoint, endpoint, space)
        else:
            self.kubernetes.delete(kind, name, space)

    def drift(self):
        found = sorted(
            key for key in self.etcd.revisions() if "/kns." in key or "/ksa." in key or "/knp." in key
        )
        if not found:
            return
        key = self.pick.choice(found)
        gateway = self.calico.gateway
        kind = self.pick.randrange(3)
        there = gateway.range(key).kvs
        if not there:
            return  # the controllers were faster
        value = json.loads(there[0].value)
        match kind:
            case 0:
                gateway.delete_if(key, "")
            case 1:
                gateway.put_if(key, json.dumps({**value, "spec": {}}).encode(), "")
            case 2:
                other = key + "-ghost"
                value["metadata"]["name"] += "-ghost"
                gateway.put_if(other, json.dumps(value).encode(), "")

    def pause(self):
        time.sleep(self.pick.random() / 10)

    def kill_controllers(self):
        self.replica.kill()
        self.start()

    def kill_api(self):
        self.server.process.kill()
        self.server.process.wait()
        self.server.start()

    def kill_etcd(self):
        self.etcd.stop()
        self.etcd.start()


def from_scratch(kubernetes):
    """Specs of profiles and policies, and labels of endpoints and nodes, as they follow from Kubernetes alone."""

    def every(kind):
        return kubernetes.get(kubernetes.path(kind))["items"]

    allow = [{"action": "Allow", "source": {}, "destination": {}}]
    found = {}
    for item in every("Namespace"):
        name, labels = item["metadata"]["name"], item["metadata"].get("labels", {})
        applied = {f"pcns.{k}": v for k, v in labels.items()} | {"pcns.projectcalico.org/name": name}
        found[f"profiles/kns.{name}"] = {"ingress": allow, "egress": allow, "labelsToApply": applied}
    for item in every("ServiceAccount"):
        meta = item["metadata"]
        applied = {f"pcsa.{k}": v for k, v in meta.get("labels", {}).items()}
        applied["pcsa.projectcalico.org/name"] = meta["name"]
        found[f"profiles/ksa.{meta['namespace']}.{meta['name']}"] = {"labelsToApply": applied}
    for item in every("NetworkPolicy"):
        policy = networkpolicy.from_kubernetes(msgspec.convert(item, core.NetworkPolicy))
        key = f"networkpolicies/{policy.metadata.namespace}/{policy.metadata.name}"
        found[key] = json.loads(msgspec.json.encode(policy.spec))
    pods, nodes = {}, {}
    for item in every("Pod"):
        meta = item["metadata"]
        labels = {
            **meta.get("labels", {}),
            "projectcalico.org/namespace": meta["namespace"],
            "projectcalico.org/orchestrator": "k8s",
            "projectcalico.org/serviceaccount": "default",
        }
        pods[meta["namespace"], item["spec"]["nodeName"], meta["name"]] = labels
    for item in every("Node"):
        nodes[item["metadata"]["name"]] = item["metadata"].get("labels", {})
    return found, pods, nodes


def differences(kubernetes, etcd):
    """What is not as it follows from Kubernetes; empty when all is."""
    try:
        copies, pods, nodes = from_scratch(kubernetes)
        dump = {key[len(ROOT) :]: value for key, value in etcd.dump(ROOT).items()}
    except DatastoreError as error:
        return [str(error)]
    copied = {
        key: value["spec"] for key, value in dump.items() if key.startswith(("profiles/", "networkpol"))
    }
    wrong = [key for key in copies.keys() | copied.keys() if copies.get(key) != copied.get(key)]
    hosts = {value["spec"]["node"] for key, value in dump.items() if key.startswith("hostendpoints/")}
    known = {key.removeprefix("nodes/"): value for key, value in dump.items() if key.startswith("nodes/")}
    wrong += [f"host endpoint of {name}" for name in hosts ^ known.keys()]
    for name, value in known.items():
        if name not in nodes:
            wrong.append(f"node {name}")
        elif value["metadata"].get("labels") != {**nodes[name], "own": "1"}:
            wrong.append(f"labels of node {name}")
    for key, value in dump.items():
        spec, meta = value.get("spec", {}), value["metadata"]
        if key.startswith("workloadendpoints/"):
            labels = pods.get((meta["namespace"], spec["node"], spec["pod"]))
            if labels is not None and labels != meta.get("labels"):
                wrong.append(key)
    return wrong


@pytest.mark.parametrize("seed", SEEDS)
def test_any_history_ends_in_the_state_that_follows_from_kubernetes(
    seed, kubernetes, etcd, shared_server, run
):
    script = Script(seed, kubernetes, etcd, shared_server, run)
    for _ in range(STEPS):
        script.step()
    # Each kind of death at least once.
    script.kill_api()
    script.kill_controllers()
    script.kill_etcd()
    try:
        until(lambda: not differences(kubernetes, etcd), 30)
    except AssertionError:
        assert differences(kubernetes, etcd) == [], script.replica.text()[-4000:]
    assert len(from_scratch(kubernetes)[0]) > 8
