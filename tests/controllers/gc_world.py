"""Ten thousand addresses, and who uses them: the truth, what a feed says of it, and what fresh reads answer.

The Kubernetes side is scripted, because a watch that is silent or behind for long is a fault that a real server
does not show on demand. The datastore is the in-process one, the controller is the real one.
"""

import ipaddress
import queue
import random
import threading
import time

from pycalico.api import names
from pycalico.api.meta import ObjectMeta, ResourceList
from pycalico.api.v3.clusterinformation import ClusterInformation, ClusterInformationSpec
from pycalico.api.v3.ipam import BlockAffinity, BlockAffinitySpec, IPAMBlock, IPAMHandle, IPAMHandleSpec
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.node import Node, NodeSpec, OrchRef
from pycalico.controllers.informers import Informers
from pycalico.controllers.kubernetes import Existence, KubernetesNode, KubernetesPod
from pycalico.controllers.nodecontroller import NodeController
from pycalico.controllers.runconfig import NodeConfig
from pycalico.datastore.client import Event, EventType
from pycalico.datastore.memory import MemoryClient
from pycalico.ipam import block as blocks

NODES, PER_NODE = 50, 198
#: Where a leak comes from, and how many of the 500 there are of each.
LEAKS = {
    "pod gone": 150,
    "handle gone": 50,
    "address reused": 50,
    "finished": 50,
    "pod moved": 50,
    "status came": 50,
    "node gone": 99,
    "tunnel of a dead node": 1,
}


class Kubernetes:
    """Truth, with a feed that can be paused and a list that can be old."""

    def __init__(self):
        self.objects = {KubernetesPod: {}, KubernetesNode: {}}
        self.old = None
        self.flowing = threading.Event()
        self.flowing.set()
        self.unreachable = False
        self._queues = {KubernetesPod: [], KubernetesNode: []}
        self._revision = 1
        self._lock = threading.Lock()

    # ---- changes ----

    def put(self, resource):
        with self._lock:
            self._revision += 1
            resource.metadata.resource_version = str(self._revision)
            key = (resource.metadata.namespace, resource.metadata.name)
            self.objects[type(resource)][key] = resource
            self._tell(type(resource), Event(EventType.MODIFIED, resource, str(self._revision)))

    def remove(self, kind, name, namespace=""):
        with self._lock:
            self._revision += 1
            gone = self.objects[kind].pop((namespace, name))
            self._tell(kind, Event(EventType.DELETED, gone, str(self._revision)))

    def _tell(self, kind, event):
        for waiting in self._queues[kind]:
            waiting.put(event)

    def pod(self, namespace, name):
        if self.unreachable:
            return Existence.UNKNOWN
        return self.objects[KubernetesPod].get((namespace, name), Existence.GONE)

    def node(self, name):
        if self.unreachable:
            return Existence.UNKNOWN
        return Existence.THERE if ("", name) in self.objects[KubernetesNode] else Existence.GONE

    # ---- the feed ----

    def list(self, kind, namespace="", *, name_prefix="", cached=False):
        with self._lock:
            shown = self.objects if self.old is None else self.old
            return ResourceList(list(shown[kind].values()), str(self._revision))

    def watch(self, kind, namespace="", *, revision="", name=""):
        waiting = queue.SimpleQueue()
        self._queues[kind].append(waiting)
        return _Watch(waiting, self.flowing)


class _Watch:
    def __init__(self, waiting, flowing):
        self._waiting, self._flowing = waiting, flowing

    def __iter__(self):
        while (event := self._waiting.get()) is not None:
            self._flowing.wait()
            yield event

    def close(self):
        self._waiting.put(None)


class World:
    """``leaked`` and ``used`` are the addresses, by handle."""

    def __init__(self):
        self.kubernetes, self.client = Kubernetes(), MemoryClient()
        self.leaked, self.used = {}, {}
        self.client.create(
            ClusterInformation(
                metadata=ObjectMeta(name="default"), spec=ClusterInformationSpec(datastore_ready=True)
            )
        )
        for name, cidr, size in (("v4", "10.0.0.0/8", 26), ("v6", "fd00::/48", 122)):
            spec = IPPoolSpec(cidr=cidr, block_size=size)
            self.client.create(IPPool(metadata=ObjectMeta(name=name), spec=spec))
        self.late = []
        ways = [
            way
            for way, number in LEAKS.items()
            if not way.endswith(("node gone", "dead node"))
            for _ in range(number)
        ]
        ways += [None] * (NODES * (PER_NODE - 1) - len(ways))
        random.Random(1).shuffle(ways)
        for number in range(NODES):
            self._fill(f"node{number}", number, ["alive", *(ways.pop() for _ in range(PER_NODE - 1))])
        living = set(self.leaked)
        self._fill("dead", NODES, ["tunnel of a dead node", *["node gone"] * LEAKS["node gone"]])
        self.dead = set(self.leaked) - living

    def _fill(self, node, number, ways):
        """Blocks full of addresses; every fifth node has IPv6."""
        self._node(node, alive=node != "dead")
        first = ipaddress.ip_address("fd00::" if number % 5 == 1 else "10.0.0.0") + number * 1024
        for index in range(0, len(ways), 64):
            self._block(node, first + index, ways[index : index + 64], tunnel=index == 0)

    def _node(self, name, *, alive):
        if alive:
            self.kubernetes.put(KubernetesNode(metadata=ObjectMeta(name=name)))
            spec = NodeSpec(orch_refs=[OrchRef(node_name=name, orchestrator="k8s")])
            self.client.create(Node(metadata=ObjectMeta(name=name), spec=spec))

    def _block(self, node, first, ways, *, tunnel):
        network = ipaddress.ip_network(f"{first}/{26 if first.version == 4 else 122}")
        made = blocks.new(network, node)
        for ordinal, way in enumerate(ways):
            if tunnel and ordinal == 0:
                self._tunnel(made.spec, node, network[0], alive=way == "alive")
            else:
                self._pod_address(made.spec, node, network[ordinal], way)
        self.client.create(made)
        name = names.affinity(node, str(network))
        spec = BlockAffinitySpec(state="confirmed", node=node, cidr=str(network))
        self.client.create(BlockAffinity(metadata=ObjectMeta(name=name), spec=spec))

    def _tunnel(self, spec, node, address, *, alive):
        handle = f"ipip-tunnel-addr-{node}"
        blocks.assign_address(spec, int(address), handle, {"node": node, "type": "ipipTunnelAddress"})
        self._handle(handle, spec.cidr)
        (self.used if alive else self.leaked)[handle] = address

    def _pod_address(self, spec, node, address, way):
        number = len(self.used) + len(self.leaked)
        pod = f"pod{number}"
        handle = f"net.{pod}"
        attributes = {"node": node, "namespace": "default", "pod": pod}
        blocks.assign_address(spec, int(address), handle, attributes)
        if way != "handle gone":
            self._handle(handle, spec.cidr)
        (self.used if way is None else self.leaked)[handle] = address
        found = KubernetesPod(metadata=ObjectMeta(name=pod, namespace="default"), node=node)
        match way:
            case None:
                # Some have no status yet, and some are being deleted but still run: both are in use.
                found.addresses = None if number % 97 == 0 else frozenset([address])
            case "address reused" | "status came":
                found.addresses = frozenset([ipaddress.ip_address("10.250.0.1")])
            case "finished":
                found.addresses = frozenset()
            case "pod moved":
                found.node, found.addresses = "node1" if node != "node1" else "node2", frozenset()
            case _:
                return
        if way == "status came":
            self.late.append(found)
            lagging = KubernetesPod(metadata=ObjectMeta(name=pod, namespace="default"), node=node)
            self.kubernetes.put(lagging)
            return
        self.kubernetes.put(found)

    def _handle(self, handle, cidr):
        spec = IPAMHandleSpec(handle_id=handle, block={cidr: 1})
        self.client.create(IPAMHandle(metadata=ObjectMeta(name=handle.lower()), spec=spec))

    def statuses_arrive(self):
        """Pods whose status lagged have one now: it names another address."""
        for pod in self.late:
            self.kubernetes.put(pod)

    def controller(self, grace_s):
        informers = Informers(self.kubernetes)
        config = NodeConfig(leak_grace_s=grace_s)
        controller = NodeController(config, self.client, informers, self.kubernetes)
        controller.start()
        informers.start()
        return controller

    def allocated(self):
        """Handles to addresses, as the blocks say."""
        found = {}
        for each in self.client.list(IPAMBlock).items:
            network = ipaddress.ip_network(each.spec.cidr)
            for ordinal, holder in blocks.allocated(each.spec):
                found[holder.handle] = network[ordinal]
        return found

    def until(self, condition, seconds):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not come to pass"
            time.sleep(0.1)
