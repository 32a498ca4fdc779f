"""A host endpoint for every node, if that is wanted; none of ours, if it is not.

Ours are those that carry the label; a host endpoint without it is never touched, whatever its name.
"""

from __future__ import annotations

import logging

import msgspec

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.hostendpoint import HostEndpoint, HostEndpointSpec
from pycalico.api.v3.node import Node, NodeBGPSpec, NodeWireguardSpec
from pycalico.base.backoff import Backoff
from pycalico.controllers.kubernetes import IPAddress, parse_address
from pycalico.datastore.client import Client
from pycalico.datastore.errors import AlreadyExists, Conflict, DatastoreError, NotFound

log = logging.getLogger(__name__)

LABEL, VALUE = "projectcalico.org/created-by", "calico-kube-controllers"
_SUFFIX = "-auto-hep"
_FIRST_DELAY_S, _MOST_DELAY_S = 0.1, 30.0


def name_of(node: str) -> str:
    return node + _SUFFIX


def is_automatic(endpoint: HostEndpoint) -> bool:
    return endpoint.metadata.labels.get(LABEL) == VALUE


def render(node: Node) -> HostEndpoint:
    """The host endpoint that ``node`` should have."""
    return HostEndpoint(
        metadata=ObjectMeta(name=name_of(node.metadata.name), labels={**node.metadata.labels, LABEL: VALUE}),
        spec=HostEndpointSpec(
            node=node.metadata.name,
            interface_name="*",
            expected_ips=expected_ips(node),
            profiles=["projectcalico-default-allow"],
        ),
    )


def expected_ips(node: Node) -> list[str]:
    """BGP addresses, tunnel addresses, then internal addresses not among them."""
    spec = node.spec
    bgp, wireguard = spec.bgp or NodeBGPSpec(), spec.wireguard or NodeWireguardSpec()
    own = (
        bgp.ipv4_address,
        bgp.ipv6_address,
        bgp.ipv4_ipip_tunnel_addr,
        spec.ipv4_vxlan_tunnel_addr,
        spec.ipv6_vxlan_tunnel_addr,
        wireguard.interface_ipv4_address,
        wireguard.interface_ipv6_address,
    )
    listed = [item.address for item in spec.addresses if item.type == "InternalIP"]
    found: dict[IPAddress, str] = {}
    for text in (*own, *listed):
        if not text:
            continue
        plain = text.split("/", maxsplit=1)[0]
        try:
            found.setdefault(parse_address(plain), plain)
        except ValueError:
            log.warning("node %s: ignoring address %s, which is none", node.metadata.name, text)
    return list(found.values())


def same(one: HostEndpoint, other: HostEndpoint) -> bool:
    """What users may change (profiles, ports) is theirs until something else makes a rewrite necessary."""
    return (
        one.metadata.labels == other.metadata.labels
        and one.spec.expected_ips == other.spec.expected_ips
        and one.spec.interface_name == other.spec.interface_name
        and one.spec.node == other.spec.node
    )


class HostEndpoints:
    """Told of nodes and host endpoints by the feed; ``settle`` then writes what differs.

    Work is per host endpoint, newest wish only, retried with backoff: one that cannot be written stops no other.
    """

    def __init__(self, client: Client, *, enabled: bool) -> None:
        self._client = client
        self._enabled = enabled
        self._nodes: dict[str, Node] = {}
        self._present: dict[str, HostEndpoint] = {}
        self._due_s: dict[str, float] = {}
        self._backoffs: dict[str, Backoff] = {}

    def put_node(self, name: str, node: Node | None) -> None:
        if node is None:
            self._nodes.pop(name, None)
        else:
            self._nodes[name] = node
        self._due_s.setdefault(name_of(name), 0.0)

    def put_endpoint(self, name: str, endpoint: HostEndpoint | None) -> None:
        known = name in self._present
        if endpoint is not None and is_automatic(endpoint):
            self._present[name] = endpoint
        else:
            self._present.pop(name, None)
        if known or name in self._present:
            self._due_s.setdefault(name, 0.0)

    def settle(self, now_s: float) -> float | None:
        """Writes what is due; returns when to come again (monotonic seconds), None when all is done."""
        for name, due_s in list(self._due_s.items()):
            if due_s > now_s:
                continue
            try:
                self._settle(name)
            except (Conflict, NotFound, AlreadyExists) as error:
                log.info("host endpoint %s: %s; trying again", name, error)
                self._again(name, now_s)
            except DatastoreError as error:
                log.warning("Failed to sync host endpoint %s: %s; trying again", name, error)
                self._again(name, now_s)
            else:
                del self._due_s[name]
                self._backoffs.pop(name, None)
        return min(self._due_s.values(), default=None)

    def _again(self, name: str, now_s: float) -> None:
        backoff = self._backoffs.setdefault(name, Backoff(_FIRST_DELAY_S, _MOST_DELAY_S))
        self._due_s[name] = now_s + backoff.next_delay_s()

    def _settle(self, name: str) -> None:
        node = self._nodes.get(name.removesuffix(_SUFFIX)) if self._enabled else None
        known = self._present.get(name)
        wanted = render(node) if node is not None and name == name_of(node.metadata.name) else None
        if wanted is None:
            if known is not None:
                self._delete(name)
            return
        if known is not None and same(known, wanted):
            return
        try:
            current = self._client.get(HostEndpoint, name)
        except NotFound:
            self._present[name] = self._client.create(wanted)
            log.info("Created host endpoint %s", name)
            return
        if not is_automatic(current):
            log.warning("host endpoint %s exists but is not ours (no label %s): left as it is", name, LABEL)
            return
        if not same(current, wanted):
            meta = msgspec.structs.replace(current.metadata, labels=wanted.metadata.labels)
            current = self._client.update(msgspec.structs.replace(current, metadata=meta, spec=wanted.spec))
            log.info("Updated host endpoint %s", name)
        self._present[name] = current

    def _delete(self, name: str) -> None:
        """Only while it still is ours, and its node is proven to be gone (or nobody wants it)."""
        if self._enabled and self._node_exists(name.removesuffix(_SUFFIX)):
            return
        try:
            current = self._client.get(HostEndpoint, name)
            if is_automatic(current):
                self._client.delete(HostEndpoint, name, revision=current.metadata.resource_version)
                log.info("Deleted host endpoint %s", name)
        except NotFound:
            pass
        self._present.pop(name, None)

    def _node_exists(self, name: str) -> bool:
        try:
            self._client.get(Node, name)
        except NotFound:
            return False
        return True
