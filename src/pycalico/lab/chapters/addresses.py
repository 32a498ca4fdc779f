"""What runs, and who got which addresses: pools, blocks, tunnels."""

from __future__ import annotations

import re

from pycalico.lab.chapters.agents import AGENTS, find_agents
from pycalico.lab.checks import conflist, lines, only, table
from pycalico.lab.step import BLOCKS, W0, W1, W2, M, Step

_POOL = ("IP Pool", r"172\.16\.0\.0/16", "65536", r"{0} \(0%\)", r"{1} \(100%\)")
_IPAM = ("GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE")


def _pool(used: int) -> tuple[str, ...]:
    return tuple(cell.format(used, 65536 - used) for cell in _POOL)


def _block(node: str, used: int, percent: str, free_percent: str) -> tuple[str, ...]:
    return (
        "Block",
        re.escape(BLOCKS[node]) + "/24",
        "256",
        rf"{used} \({percent}\)",
        rf"{256 - used} \({free_percent}\)",
    )


def _tunnel(node: str, say: str = "") -> Step:
    return Step(
        f"tunnel device of {node}",
        node,
        "ifconfig {tunnel}",
        (
            lines(
                r"{tunnel}: flags=\d+<UP,.*RUNNING.*> mtu {tunnel_mtu}",
                rf"inet {BLOCKS[node]} netmask 255\.255\.255\.255.*",
            ),
        ),
        say,
        within_s=20,
    )


def steps() -> list[Step]:
    return [
        Step(
            "version",
            M,
            "calicoctl version",
            (
                only(
                    r"Client Version: v3\.28\.1",
                    r"Git commit: \S+",
                    r"Cluster Version: v3\.28\.1",
                    "Cluster Type: k8s,bgp,kubeadm,kdd",
                ),
            ),
            "The cluster type names what is in use: Kubernetes, BGP routing, kubeadm, and the Kubernetes API as Calico's "
            "datastore (kdd).",
        ),
        Step(
            "daemon set",
            M,
            "kubectl get daemonset -n kube-system",
            (lines(r"calico-node 4 4 4 4 4 kubernetes\.io/os=linux \S+"),),
            "Each node runs calico-node.",
            within_s=60,
        ),
        Step(
            "agents",
            M,
            "kubectl get pod -n kube-system -l k8s-app=calico-node -o wide",
            (lines(*AGENTS),),
            "Its pods have the nodes' own addresses, since they share the node's network namespace.",
            find_agents,
            within_s=60,
        ),
        Step(
            "eth0 of k8s-m",
            M,
            "ifconfig eth0",
            (
                lines(
                    r"eth0: flags=4163<UP,BROADCAST,RUNNING,MULTICAST> mtu 9001",
                    r"inet 192\.168\.10\.10 netmask .*",
                ),
            ),
        ),
        Step(
            "conflist",
            M,
            "cat /etc/cni/net.d/10-calico.conflist | jq",
            (conflist(M),),
            "The network configuration names the IPAM in use.",
        ),
        Step(
            "ipam show",
            M,
            "calicoctl ipam show",
            (table(_IPAM, _pool(7)),),
            "Seven addresses are in use: four of tunnels, three of pods.",
        ),
        Step(
            "pod CIDRs",
            M,
            "kubectl get nodes -o jsonpath='{.items[*].spec.podCIDR}' ;echo",
            (only(r"172\.16\.0\.0/24 172\.16\.1\.0/24 172\.16\.3\.0/24 172\.16\.2\.0/24"),),
            "The nodes' pod CIDRs are not what pods get: Calico's IPAM hands out blocks of its own.",
        ),
        Step(
            "blocks",
            M,
            "calicoctl ipam show --show-blocks",
            (
                table(
                    _IPAM,
                    _pool(7),
                    _block(M, 1, "0%", "100%"),
                    _block(W1, 1, "0%", "100%"),
                    _block(W2, 1, "0%", "100%"),
                    _block(W0, 4, "2%", "98%"),
                ),
            ),
        ),
        _tunnel(M, "The first address of a node's block is that of its tunnel."),
        _tunnel(W0),
        _tunnel(W1),
        _tunnel(W2),
        Step(
            "borrowed",
            M,
            "calicoctl ipam show --show-borrowed",
            (table(("IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO")),),
            "A node whose own blocks are full may borrow addresses of another's, unless StrictAffinity forbids it.",
        ),
        Step(
            "ipam configuration",
            M,
            "calicoctl ipam show --show-configuration",
            (
                table(
                    ("PROPERTY", "VALUE"),
                    ("StrictAffinity", "false"),
                    ("AutoAllocateBlocks", "true"),
                    ("MaxBlocksPerHost", "0"),
                ),
            ),
        ),
    ]
