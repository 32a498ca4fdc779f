"""A node's kubelet: the node's object and its pods."""

from __future__ import annotations

import logging
import os
import queue
import threading

from pycalico.datastore.errors import DatastoreError
from pycalico.lab import plan, plugins
from pycalico.lab.cluster import Cache, Cluster, Object, now
from pycalico.lab.machine import Machine
from pycalico.lab.pod import Pod

_log = logging.getLogger(__name__)
_TICK_S = 0.5
_NET_D = "/etc/cni/net.d"
VERSION = "v1.30.4"


class Kubelet:
    """Serves one node from the moment its Node object exists. One thread, and one for each pod."""

    def __init__(
        self, node: plan.Node, machine: Machine, cluster: Cluster, pods: Cache, nodes: Cache
    ) -> None:
        self.machine = machine
        self.cluster = cluster
        self.address = node.address
        self.api_server = (plan.CONTROL_PLANE.address, plan.API_PORT)
        self.wake = threading.Event()
        self._name = node.name
        self._all_pods = pods
        self._nodes = nodes
        self._pods: dict[str, Pod] = {}
        self._turns: queue.Queue[Pod] = queue.Queue()
        self._agents_started = False
        self._reported: bool | None = None
        threading.Thread(target=self._run, name=f"kubelet-{node.name}", daemon=True).start()
        threading.Thread(target=self._attach_in_turn, name=f"attach-{node.name}", daemon=True).start()

    def network(self) -> plugins.PluginList | None:
        return plugins.load(self.machine.file(_NET_D), self.machine.run_plugin)

    def take_turn(self, pod: Pod) -> None:
        """Pods are attached in the order of their coming, so that they get addresses in that order."""
        self._turns.put(pod)

    def predecessors_gone(self, pod: Pod) -> bool:
        """Whether no ending pod of the node still holds the node's own sockets and files."""
        if not pod.host_network:
            return True
        return not any(
            other.host_network and other is not pod and other.desired_end() and not other.done.is_set()
            for other in list(self._pods.values())
        )

    def _attach_in_turn(self) -> None:
        while True:
            self._turns.get().attach()

    def _run(self) -> None:
        self._all_pods.synced.wait()
        while True:
            try:
                node = self._nodes.get("", self._name)
                if node is not None:
                    self._follow_pods()
                    self._report(node)
            except (DatastoreError, OSError, plugins.PluginError) as error:
                _log.warning("kubelet of %s: %s", self._name, error)
            self.wake.wait(_TICK_S)
            self.wake.clear()

    def _follow_pods(self) -> None:
        wanted = {
            item["metadata"]["uid"]: item
            for item in self._all_pods.all()
            if item["spec"].get("nodeName") == self._name
        }
        for uid, pod in list(self._pods.items()):
            item = wanted.get(uid)
            if item is not pod.desired:
                pod.desired = item
                pod.wake.set()
            if pod.done.is_set() and item is None:
                del self._pods[uid]
        for uid, item in wanted.items():
            finished = item.get("status", {}).get("phase") in ("Succeeded", "Failed")
            if uid not in self._pods and not finished:
                self._pods[uid] = Pod(self, item)

    def _report(self, node: Object) -> None:
        """The condition Ready: a network configuration is there and the node's agents have once started."""
        if not self._agents_started:
            agents = [pod for pod in self._pods.values() if pod.host_network]
            self._agents_started = bool(agents) and all(pod.started for pod in agents)
        ready = self._agents_started and self.network() is not None
        if ready == self._reported:
            return
        condition = {
            "type": "Ready",
            "status": "True" if ready else "False",
            "reason": "KubeletReady" if ready else "KubeletNotReady",
            "message": "kubelet is posting ready status" if ready else "container runtime network not ready",
            "lastHeartbeatTime": now(),
            "lastTransitionTime": now(),
        }
        addresses = [
            {"type": "InternalIP", "address": self.address},
            {"type": "Hostname", "address": self._name},
        ]
        status = {
            "addresses": addresses,
            "conditions": [condition],
            "nodeInfo": {
                "kubeletVersion": VERSION,
                "osImage": "pycalico lab",
                "operatingSystem": "linux",
                "architecture": "amd64",
                "containerRuntimeVersion": "lab://1",
                "kernelVersion": _kernel_version(),
            },
        }
        self.cluster.patch_status(node, status, strategic=True)
        self._reported = ready


def node_object(node: plan.Node) -> Object:
    """What ``kubeadm join`` registers."""
    labels = {
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": "amd64",
    }
    spec: Object = {"podCIDR": node.pod_cidr, "podCIDRs": [node.pod_cidr]}
    if node.control_plane:
        labels["node-role.kubernetes.io/control-plane"] = ""
        spec["taints"] = [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels},
        "spec": spec,
    }


def _kernel_version() -> str:
    return os.uname().release
