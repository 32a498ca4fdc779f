"""kube-proxy of the lab's nodes: Services as rules of iptables' nat table, with kube-proxy's chains and mark.

Source: the chains that kube-proxy in iptables mode makes. Not here: IPv6, session affinity, health checks, and refusing
what has no endpoint.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence

from pycalico.lab import plan
from pycalico.lab.cluster import Cache, Object
from pycalico.lab.machine import Machine
from pycalico.lab.services import SERVICE_NAME

_log = logging.getLogger(__name__)
_MARK = "0x4000/0x4000"
_JUMPS = (("PREROUTING", "KUBE-SERVICES"), ("OUTPUT", "KUBE-SERVICES"), ("POSTROUTING", "KUBE-POSTROUTING"))
_OWN = ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-MARK-MASQ", "KUBE-POSTROUTING")
_SETTLE_S, _RETRY_S = 0.05, 1.0


class Proxy:
    """Keeps the rules of every node as the Services and EndpointSlices ask, in a thread of its own."""

    def __init__(
        self, machines: Iterable[Machine], services: Cache, slices: Cache, wake: threading.Event
    ) -> None:
        self._wake = wake
        self._machines = list(machines)
        self._services, self._slices = services, slices
        #: Node → chains that it has.
        self._chains: dict[str, set[str]] = {}
        self._programmed: dict[str, list[str]] = {}
        threading.Thread(target=self._run, name="proxy", daemon=True).start()

    def _run(self) -> None:
        self._services.synced.wait()
        self._slices.synced.wait()
        failed = False
        while True:
            self._wake.wait(_RETRY_S if failed else None)
            time.sleep(_SETTLE_S)
            self._wake.clear()
            wanted = rules(self._services.all(), self._slices.all())
            outcomes = [self._program(machine, wanted) for machine in self._machines]
            failed = not all(outcomes)

    def _program(self, machine: Machine, wanted: list[str]) -> bool:
        if self._programmed.get(machine.name) == wanted:
            return True
        chains = {line.split()[1] for line in wanted} | set(_OWN)
        known = self._chains.get(machine.name, set())
        lines = [f":{chain} - [0:0]" for chain in sorted(chains | known)]
        lines += [f"-A {source} -j {target}" for source, target in _JUMPS if not known]
        lines += wanted + [f"-X {chain}" for chain in sorted(known - chains)]
        text = "\n".join(["*nat", *lines, "COMMIT", ""])
        done = machine.run(["iptables-restore", "--noflush", "-w", "5"], stdin=text.encode())
        if done.returncode:
            _log.warning("kube-proxy of %s: %s", machine.name, done.stderr.decode(errors="replace").strip())
            return False
        self._chains[machine.name], self._programmed[machine.name] = chains, wanted
        return True


def rules(services: Iterable[Object], slices: Sequence[Object]) -> list[str]:
    """In the form of iptables-save, in an order that does not depend on that of the objects."""
    found = [
        f"-A KUBE-MARK-MASQ -j MARK --set-xmark {_MARK}",
        f"-A KUBE-POSTROUTING -m mark ! --mark {_MARK} -j RETURN",
        "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0",
        "-A KUBE-POSTROUTING -j MASQUERADE",
    ]
    for service in sorted(
        services, key=lambda item: (item["metadata"]["namespace"], item["metadata"]["name"])
    ):
        spec = service["spec"]
        if spec.get("type") == "ExternalName" or spec.get("clusterIP", "None") in ("", "None"):
            continue
        for port in spec.get("ports", []):
            found += _port_rules(service, port, sorted(_backends(service, port, slices)))
    return [*found, "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"]


def _backends(service: Object, port: Object, slices: Sequence[Object]) -> Iterator[tuple[str, int]]:
    meta = service["metadata"]
    for item in slices:
        of = item["metadata"]
        if of["namespace"] != meta["namespace"] or of.get("labels", {}).get(SERVICE_NAME) != meta["name"]:
            continue
        for number in (
            each["port"] for each in item.get("ports") or [] if each.get("name", "") == port.get("name", "")
        ):
            for endpoint in item.get("endpoints") or []:
                if endpoint.get("conditions", {}).get("ready", True):
                    yield from ((address, number) for address in endpoint["addresses"])


def _port_rules(service: Object, port: Object, backends: Sequence[tuple[str, int]]) -> Iterator[str]:
    if not backends:
        return
    meta, spec = service["metadata"], service["spec"]
    protocol = port.get("protocol", "TCP").lower()
    named = ":".join(filter(None, (f"{meta['namespace']}/{meta['name']}", port.get("name", ""))))
    comment = f'-m comment --comment "{named}"'
    chain = _chain("SVC", named, protocol)
    addresses = [spec["clusterIP"], *spec.get("externalIPs", [])]
    addresses += [
        one["ip"]
        for one in service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
        if "ip" in one
    ]
    for address in addresses:
        to = f"-d {address}/32 -p {protocol} {comment} -m {protocol} --dport {port['port']}"
        yield f"-A KUBE-SERVICES {to} -j {chain}"
        yield f"-A {chain} ! -s {plan.POD_CIDR} {to} -j KUBE-MARK-MASQ"
    if port.get("nodePort"):
        to = f"-p {protocol} {comment} -m {protocol} --dport {port['nodePort']}"
        yield f"-A KUBE-NODEPORTS {to} -j KUBE-MARK-MASQ"
        yield f"-A KUBE-NODEPORTS {to} -j {chain}"
    for number, (address, target) in enumerate(backends):
        endpoint = _chain("SEP", named, protocol, f"{address}:{target}")
        left = len(backends) - number
        share = f" -m statistic --mode random --probability {1 / left:.10f}" if left > 1 else ""
        yield f"-A {chain} {comment}{share} -j {endpoint}"
        # A pod that reaches itself by the Service would get its answers past the translation.
        yield f"-A {endpoint} -s {address}/32 {comment} -j KUBE-MARK-MASQ"
        yield f"-A {endpoint} -p {protocol} {comment} -m {protocol} -j DNAT --to-destination {address}:{target}"


def _chain(kind: str, *of: str) -> str:
    digest = hashlib.sha256("".join(of).encode()).digest()
    return f"KUBE-{kind}-{base64.b32encode(digest).decode()[:16]}"
