"""Pods and their endpoints, and the rules that a new one brings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from pycalico.lab.checks import Check, grown, lines, only, words
from pycalico.lab.step import W0, W1, M, Step, remember

_SYSTEM_PODS = (
    (
        r"calico-kube-controllers-\w+-\w+",
        "172.16.34.1",
        "calico--kube--controllers",
        "calico-kube-controllers",
    ),
    (r"coredns-\w+-\w+", "172.16.34.2", "coredns", "coredns"),
    (r"coredns-\w+-\w+", "172.16.34.3", "coredns", "coredns"),
)
_HASHES = (
    ("ACCEPT", "XbY6-cDccVq4BXbw", "ctstate RELATED,ESTABLISHED"),
    ("DROP", "N4hE4yZtnqCjJbJL", "ctstate INVALID"),
    ("MARK", "9XJDTASzmA98NbgL", "MARK and 0xfffcffff"),
    (r"cali-pri-kns\.default", "B21wAo2MmHxTE20i", ""),
    ("RETURN", "z0vNGDZb9fZZTnBN", r"/\* Return if profile accepted \*/.*"),
    (r"cali-pri-ksa\.default\.default", "Xs37buFlu3zcQDO1", ""),
    ("RETURN", "TQSFKOw4Wln6EBF3", r"/\* Return if profile accepted \*/.*"),
    ("DROP", "GlPBajbc7Ht3AzxB", r"/\* Drop if no profiles matched \*/"),
)
_CHAIN = [
    rf"\d+ \d+ {target} (all|0) -- \* \* 0\.0\.0\.0/0 0\.0\.0\.0/0 /\* cali:{digest} \*/( {rest})?".replace(
        "( )?", ""
    )
    for target, digest, rest in _HASHES
]


def _split(output: str) -> dict[str, str]:
    """Fact ``split``: rules that pod2's interface costs beyond its own.

    When the name of one other interface of k8s-w0 begins alike, both go to a new pair of dispatch chains, six lines.
    """
    alike = [row for row in words(output) if W0 in row.split() and re.search(r"\bcalib", row)]
    return {"split": "6" if len(alike) == 1 else "0"}


def _pod(name: str, node: str) -> str:
    """A pod that serves its own name on port 80."""
    spec = {
        "nodeSelector": {"kubernetes.io/hostname": node},
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": name,
                "image": "busybox:1.36",
                "command": ["sh", "-c", "hostname >index.html; exec busybox httpd -f -p 80 -h ."],
            }
        ],
    }
    return f"kubectl run {name} --image=busybox:1.36 --overrides='{json.dumps({'spec': spec})}'"


def _counts(when: str, checks: Callable[[str], tuple[Check, ...]], say: str = "") -> list[Step]:
    return [
        Step(
            f"{table_name} rules {when}",
            W0,
            f"iptables -t {table_name} -S | grep cali | wc -l",
            checks(table_name),
            say if table_name == "filter" else "",
            remember(f"{table_name}_{when}"),
            within_s=10,
        )
        for table_name in ("filter", "nat")
    ]


def _tree() -> tuple[Check, ...]:
    """runsvdir, and below it a runsv for each service with its program."""
    services = {
        "node-status-reporter": r"calico-node -status-reporter",
        "bird6": r"bird6 -R -s /var/run/calico/bird6\.ctl -d -c /etc/calico/confd/config/bird6\.cfg",
        "bird": r"bird -R -s /var/run/calico/bird\.ctl -d -c /etc/calico/confd/config/bird\.cfg",
        "felix": r"calico-node -felix",
        "cni": r"calico-node -monitor-token",
        "confd": r"calico-node -confd",
        "monitor-addresses": r"calico-node -monitor-addresses",
        "allocate-tunnel-addrs": r"calico-node -allocate-tunnel-addrs",
    }
    rows = [r".* (\S*/)?runsvdir -P /etc/service/enabled"]
    rows += [rf".*\\_ runsv {service}" for service in services]
    rows += [rf".*\\_ (\S+ )?(\S*/)?{program}" for program in services.values()]
    return (lines(*rows),)


def steps() -> list[Step]:
    wide = [
        rf"kube-system k8s--w0-k8s-{slug}--\w+--\w+-eth0 {name} k8s-w0 {re.escape(address)}/32 cali[0-9a-f]{{{{11}}}} "
        rf"kns\.kube-system,ksa\.kube-system\.{account}"
        for name, address, slug, account in _SYSTEM_PODS
    ]
    plain = [
        rf"kube-system {name} k8s-w0 {re.escape(address)}/32 cali[0-9a-f]{{{{11}}}}"
        for name, address, _, _ in _SYSTEM_PODS
    ]
    chain = (
        r"Chain cali-tw-calibd2348b4f67 \(1 references\)",
        "pkts bytes target prot opt in out source destination",
    )
    return [
        Step(
            "pool",
            M,
            "calicoctl get ippool -o wide",
            (
                only(
                    "NAME CIDR NAT IPIPMODE VXLANMODE DISABLED DISABLEBGPEXPORT SELECTOR",
                    r"default-ipv4-ippool 172\.16\.0\.0/16 true {ipip_mode} {vxlan_mode} false false all\(\)",
                ),
            ),
        ),
        Step(
            "endpoints wide",
            M,
            "calicoctl get wep -A -o wide",
            (lines("NAMESPACE NAME WORKLOAD NODE NETWORKS INTERFACE PROFILES NATS", *wide),),
            "The pods with an address from Calico; those in the host's network are not among them.",
            find=_split,
        ),
        Step(
            "pod addresses",
            M,
            "kubectl get pod -n kube-system -o wide | grep 172",
            (
                lines(
                    *(
                        rf"{name} 1/1 Running 0 \S+ {re.escape(address)} k8s-w0 <none> <none>"
                        for name, address, _, _ in _SYSTEM_PODS
                    )
                ),
            ),
            within_s=30,
        ),
        Step(
            "process tree", M, "ps axf", _tree(), "The processes of calico-node, under runit.", shown_lines=40
        ),
        Step(
            "first pod",
            M,
            _pod("pod1", W1),
            (lines("pod/pod1 created"),),
            "Add a pod on k8s-w1, then look at the rules of k8s-w0 before and after one is added there.",
        ),
        Step(
            "first pod ready",
            M,
            "kubectl wait --for=condition=Ready pod/pod1 --timeout=60s",
            (lines(".* condition met"),),
        ),
        *_counts("before", lambda _: (lines(r"[1-9]\d*"),), "Before:"),
        Step("second pod", M, _pod("pod2", W0), (lines("pod/pod2 created"),)),
        Step(
            "second pod ready",
            M,
            "kubectl wait --for=condition=Ready pod/pod2 --timeout=60s",
            (lines(".* condition met"),),
        ),
        *_counts(
            "after",
            lambda name: (
                grown("filter_before", 30, "split") if name == "filter" else grown("nat_before", 0),
            ),
            "After: thirty rules more in the filter table (36 where another interface's name begins with the same letter, "
            "for those share a dispatch chain), none in the nat table.",
        ),
        Step(
            "endpoints",
            M,
            "calicoctl get wep -A",
            (
                lines(
                    "NAMESPACE WORKLOAD NODE NETWORKS INTERFACE",
                    r"default pod1 k8s-w1 172\.16\.158\.1/32 calice0906292e2",
                    r"default pod2 k8s-w0 172\.16\.34\.4/32 calibd2348b4f67",
                    *plain,
                ),
            ),
        ),
        Step(
            "chain",
            W0,
            "iptables -v --numeric --table filter --list cali-tw-calibd2348b4f67",
            (only(*chain, *_CHAIN),),
            "The chain towards the new pod. A rule's comment holds the hash by which Felix knows it.",
        ),
    ]
