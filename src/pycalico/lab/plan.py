"""The cluster that the lab makes: names, addresses and links, as data.

The values are those of the walkthrough: three nodes on one subnet, the fourth behind a router.
"""

from __future__ import annotations

from dataclasses import dataclass

NODE_MTU = 9001
POD_CIDR = "172.16.0.0/16"
BLOCK_SIZE = 24
API_PORT = 6443

OUTSIDE_ADDRESS = "203.0.113.1"
OUTSIDE_GATEWAY = "203.0.113.254"
OUTSIDE_PORT = 80
#: The subnets' name server, to which every node has a route; the router answers for it.
#: The lab of a user who named none.
NAME = "pycalico"
NAME_SERVER = "192.168.0.2"

ROUTER = "router"
OUTSIDE = "outside"


@dataclass(frozen=True)
class Node:
    name: str
    address: str
    gateway: str
    bridge: str
    pod_cidr: str
    control_plane: bool = False


NODES = (
    Node("k8s-m", "192.168.10.10", "192.168.10.1", "br10", "172.16.0.0/24", control_plane=True),
    Node("k8s-w0", "192.168.20.100", "192.168.20.1", "br20", "172.16.1.0/24"),
    Node("k8s-w1", "192.168.10.101", "192.168.10.1", "br10", "172.16.3.0/24"),
    Node("k8s-w2", "192.168.10.102", "192.168.10.1", "br10", "172.16.2.0/24"),
)
CONTROL_PLANE = NODES[0]
BRIDGES = {"br10": "192.168.10.1", "br20": "192.168.20.1"}


def namespaces(lab: str) -> list[str]:
    """The names that ``ip netns`` shows for a lab."""
    return [f"{lab}-{part}" for part in (ROUTER, OUTSIDE, *(node.name for node in NODES))]
