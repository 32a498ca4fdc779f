"""Which host endpoint holds which interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pycalico.calc.messages import HostEndpointUpdate
from pycalico.dataplane.rules.name import ANY_INTERFACE

WILDCARD = "*"


def match_interfaces(
    endpoints: Mapping[str, HostEndpointUpdate],
    interfaces: Iterable[str],
    addresses_of: Callable[[str], frozenset[str]],
) -> dict[str, str]:
    """Interface to the name of its host endpoint; ANY_INTERFACE for the one of all interfaces.

    An endpoint matches by its interface's name or, when it has none, by an expected address. The lowest name wins.
    """
    found: dict[str, str] = {}
    ordered = sorted(endpoints)
    for interface in interfaces:
        winner = next((n for n in ordered if _holds(endpoints[n], interface, addresses_of)), None)
        if winner is not None:
            found[interface] = winner
    wildcard = next((n for n in ordered if endpoints[n].interface == WILDCARD), None)
    if wildcard is not None:
        found[ANY_INTERFACE] = wildcard
    return found


def _holds(
    endpoint: HostEndpointUpdate, interface: str, addresses_of: Callable[[str], frozenset[str]]
) -> bool:
    if endpoint.interface:
        return endpoint.interface == interface
    return not addresses_of(interface).isdisjoint((*endpoint.expected_ipv4, *endpoint.expected_ipv6))
