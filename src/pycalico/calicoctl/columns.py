"""The columns of ``get``: which a kind has, which are shown, and what stands in a cell.

Table and cell rules: calicoctl v3.28.1 (observed).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from pycalico.api.meta import Resource

#: A cell from a resource; the second argument answers with the cluster's AS number when asked.
Cell = Callable[[Any, Callable[[], str]], str]
_MOST = 80


class Columns(msgspec.Struct, frozen=True):
    """``narrow`` and ``wide`` name columns of ``cells``."""

    narrow: tuple[str, ...]
    wide: tuple[str, ...]
    cells: dict[str, Cell]


def text(value: Any) -> str:
    """A field as upstream's tables print it."""
    if value is None:
        return "<nil>"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, float):
        from pycalico.base import decimals  # noqa: PLC0415 (the order of policies, and nothing else)

        return decimals.general(value)
    return str(value)


def joined(items: Any, separator: str = ",", most: int = 0) -> str:
    """Items, or ``k=v`` pairs in order; cut to ``most`` characters of which the last three are dots."""
    if items is None:
        return ""
    if isinstance(items, dict):
        items = sorted(f"{key}={text(value)}" for key, value in items.items())
    elif not isinstance(items, (list, tuple)):
        items = [items]
    found = separator.join(_item(item) for item in items)
    return found if not most or len(found) <= most else found[: most - 3] + "..."


def _item(item: Any) -> str:
    if isinstance(item, msgspec.Struct):
        return "{" + " ".join(text(getattr(item, name)) for name in item.__struct_fields__) + "}"
    return text(item)


def _spec(attribute: str) -> Cell:
    return lambda resource, _: text(getattr(resource.spec, attribute))


def _list(attribute: str, most: int = 0) -> Cell:
    return lambda resource, _: joined(getattr(resource.spec, attribute), most=most)


def _count(attribute: str) -> Cell:
    return lambda resource, _: str(len(getattr(resource.spec, attribute)))


def _or(attribute: str, otherwise: str) -> Cell:
    """``otherwise`` for a field that is not set."""

    def cell(resource: Any, _: Callable[[], str]) -> str:
        value = getattr(resource.spec, attribute)
        return otherwise if value is None or value == "" else text(value)

    return cell


def _bgp(attribute: str) -> Cell:
    return lambda node, _: (getattr(node.spec.bgp, attribute) or "") if node.spec.bgp else ""


def _node_asn(node: Any, cluster: Callable[[], str]) -> str:
    if node.spec.bgp is None:
        return ""
    own = node.spec.bgp.as_number
    return f"({cluster()})" if own is None else text(own)


NAME: Cell = lambda resource, _: resource.metadata.name  # noqa: E731 (a row of the tables below)
NAMESPACE: Cell = lambda resource, _: resource.metadata.namespace  # noqa: E731

_POLICY: dict[str, Cell] = {"NAME": NAME, "ORDER": _spec("order"), "SELECTOR": _spec("selector")}
_NETS: dict[str, Cell] = {"NAME": NAME, "NETS": _list("nets", _MOST)}
_IN_NAMESPACE: dict[str, Cell] = {"NAMESPACE": NAMESPACE}


def _all(cells: dict[str, Cell]) -> Columns:
    return Columns(tuple(cells), tuple(cells), cells)


COLUMNS: dict[str, Columns] = {
    "BGPConfiguration": _all(
        {
            "NAME": NAME,
            "LOGSEVERITY": _spec("log_severity_screen"),
            "MESHENABLED": _or("node_to_node_mesh_enabled", "-"),
            "ASNUMBER": _or("as_number", "-"),
        }
    ),
    "BGPFilter": _all(
        {
            "NAME": NAME,
            "NUMEXPORTV4": _count("export_v4"),
            "NUMIMPORTV4": _count("import_v4"),
            "NUMEXPORTV6": _count("export_v6"),
            "NUMIMPORTV6": _count("import_v6"),
        }
    ),
    "BGPPeer": _all(
        {
            "NAME": NAME,
            "PEERIP": _spec("peer_ip"),
            "NODE": lambda peer, _: peer.spec.node or peer.spec.node_selector or "(global)",
            "ASN": _spec("as_number"),
        }
    ),
    "ClusterInformation": _all(
        {
            "NAME": NAME,
            "CLUSTERGUID": _spec("cluster_guid"),
            "CLUSTERTYPE": _spec("cluster_type"),
            "CALICOVERSION": _spec("calico_version"),
            "DATASTOREREADY": _spec("datastore_ready"),
        }
    ),
    "FelixConfiguration": _all({"NAME": NAME}),
    "GlobalNetworkPolicy": Columns(("NAME",), tuple(_POLICY), _POLICY),
    "GlobalNetworkSet": Columns(("NAME",), tuple(_NETS), _NETS),
    "HostEndpoint": Columns(
        ("NAME", "NODE"),
        ("NAME", "NODE", "INTERFACE", "IPS", "PROFILES"),
        {
            "NAME": NAME,
            "NODE": _spec("node"),
            "INTERFACE": _spec("interface_name"),
            "IPS": _list("expected_ips"),
            "PROFILES": _list("profiles"),
        },
    ),
    "IPPool": Columns(
        ("NAME", "CIDR", "SELECTOR"),
        ("NAME", "CIDR", "NAT", "IPIPMODE", "VXLANMODE", "DISABLED", "DISABLEBGPEXPORT", "SELECTOR"),
        {
            "NAME": NAME,
            "CIDR": _spec("cidr"),
            "NAT": _spec("nat_outgoing"),
            "IPIPMODE": _or("ipip_mode", "Never"),
            "VXLANMODE": _or("vxlan_mode", "Never"),
            "DISABLED": _spec("disabled"),
            "DISABLEBGPEXPORT": _spec("disable_bgp_export"),
            "SELECTOR": _spec("node_selector"),
        },
    ),
    "IPReservation": Columns(
        ("NAME",), ("NAME", "CIDRS"), {"NAME": NAME, "CIDRS": _list("reserved_cidrs", _MOST)}
    ),
    "KubeControllersConfiguration": _all({"NAME": NAME}),
    "NetworkPolicy": Columns(("NAME",), tuple(_POLICY), _POLICY | _IN_NAMESPACE),
    "NetworkSet": Columns(("NAME",), tuple(_NETS), _NETS | _IN_NAMESPACE),
    "Node": Columns(
        ("NAME",),
        ("NAME", "ASN", "IPV4", "IPV6"),
        {"NAME": NAME, "ASN": _node_asn, "IPV4": _bgp("ipv4_address"), "IPV6": _bgp("ipv6_address")},
    ),
    "Profile": Columns(("NAME",), ("NAME", "LABELS"), {"NAME": NAME, "LABELS": _list("labels_to_apply")}),
    "WorkloadEndpoint": Columns(
        ("WORKLOAD", "NODE", "NETWORKS", "INTERFACE"),
        ("NAME", "WORKLOAD", "NODE", "NETWORKS", "INTERFACE", "PROFILES", "NATS"),
        {
            "NAME": NAME,
            "NODE": _spec("node"),
            "ORCHESTRATOR": _spec("orchestrator"),
            "WORKLOAD": lambda endpoint, _: endpoint.spec.workload or endpoint.spec.pod,
            "NETWORKS": _list("ip_networks"),
            "NATS": _list("ip_nats"),
            "PROFILES": _list("profiles"),
            "INTERFACE": _spec("interface_name"),
        }
        | _IN_NAMESPACE,
    ),
}


class UnknownHeading(ValueError):
    """No column of that name."""


def rows(
    kind: str, headings: Sequence[str], items: Sequence[Resource], cluster_asn: Callable[[], str]
) -> list[list[str]]:
    """The heading and a row for each item. Raises UnknownHeading."""
    cells = COLUMNS[kind].cells
    for heading in headings:
        if heading not in cells:
            raise UnknownHeading(f"Unknown heading {heading}, valid values are: {', '.join(cells)}")
    chosen = [cells[heading] for heading in headings]
    return [list(headings), *([cell(item, cluster_asn) for cell in chosen] for item in items)]


def padded(table: Sequence[Sequence[str]], widths: Sequence[int] = ()) -> str:
    """Columns as wide as their widest cell and three blanks, at least five (or ``widths``); the last one too."""
    widths = widths or [max(5, 3 + max(map(len, column))) for column in zip(*table, strict=True)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + "\n" for row in table
    )
