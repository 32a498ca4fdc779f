"""The wires: network namespaces, bridges, a router and an outside, in a few batches of ``ip``.

All links are inside the namespaces; the machine's own links, addresses and rules stay as they are. The bridges are in
the router's namespace, which has an uplink to the outside. The outside knows the nodes' subnets but no pod's, so that
a pod reaches it only with its address translated.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from pycalico.lab import plan
from pycalico.lab.errors import LabError
from pycalico.lab.namespaces import inside_network

_NETNS = Path("/run/netns")


def path(lab: str, part: str) -> str:
    """The file by which the network namespace of a part of the lab is joined."""
    return str(_NETNS / f"{lab}-{part}")


def exists(lab: str) -> list[str]:
    """Names of the lab's network namespaces that exist now."""
    return [name for name in plan.namespaces(lab) if (_NETNS / name).exists()]


def build(lab: str) -> None:
    """Raises LabError; what was made so far stays for ``remove``."""
    _batch([f"netns add {name}" for name in plan.namespaces(lab)])
    _batch(_links(lab))
    _batch(_router(), netns=f"{lab}-{plan.ROUTER}")
    _batch(_outside(), netns=f"{lab}-{plan.OUTSIDE}")
    for node in plan.NODES:
        _batch(_node(node), netns=f"{lab}-{node.name}")
    with inside_network(path(lab, plan.ROUTER)):
        for name, value in {
            "ip_forward": "1",
            "conf/all/rp_filter": "0",
            "conf/default/rp_filter": "0",
        }.items():
            Path(f"/proc/sys/net/ipv4/{name}").write_text(value)
    for node in plan.NODES:
        with inside_network(path(lab, node.name)):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def remove(lab: str) -> None:
    """Deletes what is there of the lab's network namespaces; their links go with them."""
    present = exists(lab)
    if present:
        _batch([f"netns delete {name}" for name in present])


def processes(lab: str) -> list[int]:
    """Processes still in one of the lab's network namespaces."""
    pids: list[int] = []
    for name in exists(lab):
        shown = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
        pids += [int(word) for word in shown.stdout.split()]
    return pids


def kernel_has_ipip() -> bool:
    """Whether this kernel can make an IPIP tunnel: found by making one in a namespace that is gone at once."""
    tried = subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "probe0", "type", "ipip", "local", "192.0.2.1"],
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


def _links(lab: str) -> list[str]:
    router = f"{lab}-{plan.ROUTER}"
    mtu = f"mtu {plan.NODE_MTU}"
    lines = [
        f"link add eth0 netns {lab}-{node.name} {mtu} type veth peer name {node.name} netns {router} {mtu}"
        for node in plan.NODES
    ]
    return [*lines, f"link add eth0 netns {lab}-{plan.OUTSIDE} type veth peer name uplink netns {router}"]


def _router() -> list[str]:
    lines = ["link set lo up", f"address add {plan.NAME_SERVER}/32 dev lo"]
    for bridge, address in plan.BRIDGES.items():
        lines += [
            f"link add {bridge} mtu {plan.NODE_MTU} type bridge",
            f"address add {address}/24 dev {bridge}",
            f"link set {bridge} up",
        ]
    for node in plan.NODES:
        lines += [f"link set {node.name} master {node.bridge} up"]
    return [*lines, f"address add {plan.OUTSIDE_GATEWAY}/24 dev uplink", "link set uplink up"]


def _outside() -> list[str]:
    return [
        "link set lo up",
        f"address add {plan.OUTSIDE_ADDRESS}/24 dev eth0",
        "link set eth0 up",
        f"route add 192.168.0.0/16 via {plan.OUTSIDE_GATEWAY}",
    ]


def _node(node: plan.Node) -> list[str]:
    """The routes are those that a DHCP lease leaves on a node, as the walkthrough's BIRD shows them."""
    lease = f"dev eth0 proto dhcp src {node.address} metric 100"
    return [
        "link set lo up",
        f"address add {node.address}/24 broadcast + dev eth0",
        "link set eth0 up",
        f"route add {node.gateway} scope link {lease}",
        f"route add default via {node.gateway} {lease}",
        f"route add {plan.NAME_SERVER} via {node.gateway} {lease}",
    ]


def _batch(lines: list[str], *, netns: str = "") -> None:
    where = ["-netns", netns] if netns else []
    done = subprocess.run(
        ["ip", *where, "-batch", "-"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = done.stderr.strip().replace("\n", "; ")
        raise LabError(f"cannot make the network{' of ' + netns if netns else ''}: {reason}")
