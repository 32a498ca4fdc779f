"""Services: defaults, checks, and the cluster IPs and node ports they are given."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any, Final

from pycalico.apiserver import errors, kinds
from pycalico.apiserver.store import Store

Obj = dict[str, Any]
SERVICE_NETWORK: Final = ipaddress.IPv4Network("10.96.0.0/12")


class Services:
    """What is taken is read from the stored services, so there is no second record to disagree."""

    def __init__(self, objects: Store) -> None:
        self._store = objects

    def prepare(self, obj: Obj, old: Obj | None) -> None:
        """Default and check a service; 422 where it is refused."""
        spec = obj.setdefault("spec", {})
        name = obj["metadata"]["name"]
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        causes = []
        for index, port in enumerate(spec.get("ports") or ()):
            field = f"spec.ports[{index}]"
            if not isinstance(port, dict) or not _is_port(port.get("port")):
                text = f"Invalid value: {port.get('port', 0) if isinstance(port, dict) else 0}: must be between 1 and 65535, inclusive"
                causes.append((f"{field}.port", "FieldValueInvalid", text))
                continue
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port["port"])
        if spec["type"] not in ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"):
            text = (
                f'Unsupported value: "{spec["type"]}": supported values: "ClusterIP", "ExternalName", '
                '"LoadBalancer", "NodePort"'
            )
            causes.append(("spec.type", "FieldValueNotSupported", text))
        elif not spec.get("ports") and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
            causes.append(("spec.ports", "FieldValueRequired", "Required value"))
        if causes:
            raise errors.invalid(kinds.SERVICE, name, causes)
        obj.setdefault("status", {"loadBalancer": {}})
        if spec["type"] == "ExternalName":
            return
        if old is not None and old["spec"].get("clusterIP"):
            spec.setdefault("clusterIP", old["spec"]["clusterIP"])
            if spec["clusterIP"] != old["spec"]["clusterIP"] and old["spec"]["type"] != "ExternalName":
                text = f'Invalid value: "{spec["clusterIP"]}": may not change once set'
                raise errors.invalid(kinds.SERVICE, name, [("spec.clusterIPs[0]", "FieldValueInvalid", text)])
        self._allocate(obj, spec)
        spec["clusterIPs"] = [spec["clusterIP"], *(spec.get("clusterIPs") or ())[1:]]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("internalTrafficPolicy", "Cluster")
        if spec["type"] in ("NodePort", "LoadBalancer"):
            spec.setdefault("externalTrafficPolicy", "Cluster")
            self._allocate_node_ports(obj, spec)

    def _others(self, obj: Obj) -> Iterator[Obj]:
        key = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        return (e.obj["spec"] for e in self._store.entries("services") if e.key != key)

    def _allocate(self, obj: Obj, spec: Obj) -> None:
        used = {other.get("clusterIP") for other in self._others(obj)}
        wanted = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), None)
        if not wanted:
            # .1 is the service "kubernetes", .10 by custom DNS: both are asked for by name.
            base = int(SERVICE_NETWORK.network_address)
            wanted = next(
                ip
                for n in range(11, SERVICE_NETWORK.num_addresses - 1)
                if (ip := str(ipaddress.IPv4Address(base + n))) not in used
            )
        elif wanted != "None":
            text = ""
            try:
                if wanted in used:
                    text = "provided IP is already allocated"
                elif ipaddress.ip_address(wanted) not in SERVICE_NETWORK:
                    text = (
                        f"provided IP is not in the valid range. The range of valid IPs is {SERVICE_NETWORK}"
                    )
            except ValueError:
                text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            if text:
                cause = ("spec.clusterIPs", "FieldValueInvalid", f'Invalid value: ["{wanted}"]: {text}')
                raise errors.invalid(kinds.SERVICE, obj["metadata"]["name"], [cause])
        spec["clusterIP"] = wanted

    def _allocate_node_ports(self, obj: Obj, spec: Obj) -> None:
        used = {p.get("nodePort") for other in self._others(obj) for p in other.get("ports") or ()}
        used |= {p.get("nodePort") for p in spec["ports"]}
        free = (port for port in range(30000, 32768) if port not in used)
        for port in spec["ports"]:
            if not port.get("nodePort"):
                port["nodePort"] = next(free)


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535
