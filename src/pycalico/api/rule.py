"""Policy rules, shared by NetworkPolicy, GlobalNetworkPolicy and Profile."""

from __future__ import annotations

import msgspec

from pycalico.api.wire import Struct

#: A port: a number, a range ``"a:b"`` or the name of an endpoint's port.
Port = int | str
#: A protocol: 1..255, or one of TCP UDP ICMP ICMPv6 SCTP UDPLite.
Protocol = int | str


class ICMPFields(Struct):
    type: int | None = None
    code: int | None = None


class ServiceMatch(Struct):
    name: str = ""
    namespace: str = ""


class ServiceAccountMatch(Struct):
    names: list[str] = []
    selector: str = ""


class EntityRule(Struct):
    """One side of a rule; all of its parts must match."""

    nets: list[str] = []
    selector: str = ""
    namespace_selector: str = ""
    services: ServiceMatch | None = None
    ports: list[Port] = []
    not_nets: list[str] = []
    not_selector: str = ""
    not_ports: list[Port] = []
    service_accounts: ServiceAccountMatch | None = None


class HTTPPath(Struct):
    exact: str = ""
    prefix: str = ""


class HTTPMatch(Struct):
    methods: list[str] = []
    paths: list[HTTPPath] = []


class RuleMetadata(Struct):
    annotations: dict[str, str] = {}


class Rule(Struct):
    """``action`` is Allow, Deny, Log or Pass."""

    action: str = msgspec.field(default_factory=str)
    ip_version: int | None = None
    protocol: Protocol | None = None
    icmp: ICMPFields | None = None
    not_protocol: Protocol | None = None
    not_icmp: ICMPFields | None = None
    source: EntityRule = msgspec.field(default_factory=EntityRule)
    destination: EntityRule = msgspec.field(default_factory=EntityRule)
    http: HTTPMatch | None = None
    metadata: RuleMetadata | None = None
