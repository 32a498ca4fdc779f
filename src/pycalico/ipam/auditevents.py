"""What the audit finds, as Kubernetes events: on the pod that has an address, on the node that a leaked one is of."""

from __future__ import annotations

from collections.abc import Iterator

from pycalico.datastore.kubernetes.events import Subject, warn
from pycalico.datastore.kubernetes.rest import Rest
from pycalico.ipam.audit import Findings, Leak, Use

_COMPONENT = "calico-ipam-audit"


def put(rest: Rest, findings: Findings) -> int:
    """How many are new. Raises DatastoreError."""
    told = [
        warn(rest, subject, reason, message, component=_COMPONENT, about=about)
        for subject, reason, message, about in _events(findings)
    ]
    return sum(told)


def _events(findings: Findings) -> Iterator[tuple[Subject, str, str, str]]:
    for use in findings.missing:
        text = f"{use.address} is not allocated in Calico IPAM: another pod may be given it"
        yield _pod(use), "AddressNotAllocated", text, use.address
    for release, use in findings.mistaken:
        text = f"{use.address} is allocated to {release.handle} in Calico IPAM: two pods may have it"
        yield _pod(use), "AddressOfAnother", text, use.address
    by_node: dict[str, list[Leak]] = {}
    for leak in findings.leaked:
        by_node.setdefault(leak.node, []).append(leak)
    for node, leaks in by_node.items():
        if node:
            text = f"{len(leaks)} addresses are allocated in Calico IPAM and no pod has them, {leaks[0].address} among them"
            # One for all: their number changes, the news does not.
            yield Subject("v1", "Node", node, uid=node), "AddressesLeaked", text, "leaks"


def _pod(use: Use) -> Subject:
    return Subject("v1", "Pod", use.pod, use.namespace, use.uid)
