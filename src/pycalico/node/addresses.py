"""The node's own addresses: from the environment, from detection, or as they are."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping

from pycalico.api.v3.node import Node, NodeBGPSpec
from pycalico.datastore.client import Client
from pycalico.node import autodetect
from pycalico.node.autodetect import Address, Surroundings, Undetected
from pycalico.node.fatal import Fatal

log = logging.getLogger(__name__)


class DetectionFailed(Fatal):
    """No address could be found; ``families`` were to be detected, and what the node has of them is not valid."""

    def __init__(self, message: str, families: set[int]) -> None:
        super().__init__(message)
        self.families = families


def configure(node: Node, environ: Mapping[str, str], around: Surroundings) -> bool:
    """Brings ``spec.bgp``'s addresses up to date; tells whether one changed. Raises DetectionFailed, Fatal."""
    bgp = node.spec.bgp or NodeBGPSpec()
    node.spec.bgp = bgp
    before = (bgp.ipv4_address, bgp.ipv6_address)
    asked = {family for family, name in ((4, "IP"), (6, "IP6")) if environ.get(name) == "autodetect"}
    try:
        bgp.ipv4_address = _v4(bgp.ipv4_address, environ, around)
        bgp.ipv6_address = _v6(bgp.ipv6_address, environ, around)
    except (Undetected, autodetect.BadMethod) as error:
        raise DetectionFailed(str(error), asked) from error
    if not bgp.ipv4_address and not bgp.ipv6_address:
        raise DetectionFailed(
            "No IPv4 or IPv6 addresses configured or detected, required for Calico networking", set()
        )
    return (bgp.ipv4_address, bgp.ipv6_address) != before


def _v4(old: str, environ: Mapping[str, str], around: Surroundings) -> str:
    text = environ.get("IP", "")
    if text == "autodetect" or (not text and not old):
        return _detected(4, old, environ.get("IP_AUTODETECTION_METHOD", ""), around)
    if text in ("", "none"):
        _confirm(4, old, around)
        return old
    new = _given("IP", text, 4)
    if "/" not in text:
        new = _completed(new, around)
    _confirm(4, str(new), around)
    return str(new)


def _v6(old: str, environ: Mapping[str, str], around: Surroundings) -> str:
    text = environ.get("IP6", "")
    if text == "autodetect":
        return _detected(6, old, environ.get("IP6_AUTODETECTION_METHOD", ""), around)
    if text in ("", "none"):
        _confirm(6, old, around)
        return old
    new = _given("IP6", text, 6)
    _confirm(6, str(new), around)
    return str(new)


def _detected(family: int, old: str, method: str, around: Surroundings) -> str:
    """The old address stays as long as the method still accepts it: a new link must not move the node.

    Where it is gone, another of its network comes before all others, for the same reason.
    """
    try:
        found = autodetect.candidates(method, family, around)
    except Undetected as error:
        if not old:
            raise
        log.warning("%s", error)
        log.warning("Autodetection of IPv%d address failed, keeping existing value: %s", family, old)
        return old
    if len(found) > 1:
        shown = ", ".join(f"{item.interface} {item.address}" for item in found)
        log.info("IPv%d addresses that the method accepts: %s", family, shown)
    kept = [item for item in found if str(item.address) == old]
    nearby = [item for item in found if old and str(item.address.network) == _network(old)]
    chosen = (kept or nearby or found)[0]
    log.info("Using autodetected IPv%d address on interface %s: %s", family, chosen.interface, chosen.address)
    return str(chosen.address)


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_interface(text).network)
    except ValueError:
        return ""


def _given(name: str, text: str, family: int) -> Address:
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        found = None
    if found is None or found.version != family:
        raise Fatal(f"Environment does not contain a valid IPv{family} address: {name}={text}")
    log.info("Using IPv%d address from environment: %s=%s", family, name, text)
    return found


def _completed(address: Address, around: Surroundings) -> Address:
    for interface in around.interfaces:
        for local in interface.addresses:
            if local.ip == address.ip:
                return local
    return address


def _confirm(family: int, text: str, around: Surroundings) -> None:
    if not text:
        return
    try:
        wanted = ipaddress.ip_interface(text).ip
    except ValueError:
        log.warning("The node's IPv%d address %r cannot be read", family, text)
        return
    if not any(local.ip == wanted for interface in around.interfaces for local in interface.addresses):
        log.warning("Unable to confirm IPv%d address %s is assigned to this host", family, wanted)


def check_conflicts(client: Client, node: Node, environ: Mapping[str, str]) -> set[int]:
    """The families whose address another node has, each said in the log."""
    if environ.get("DISABLE_NODE_IP_CHECK") == "true":
        return set()
    own = _ips(node)
    conflicts = set()
    for other in client.list(Node).items:
        for family, address in _ips(other).items():
            if other.metadata.name == node.metadata.name:
                if family in own and own[family] != address:
                    log.warning(
                        "IPv%d address has changed. This could happen if there are multiple nodes with the same name.",
                        family,
                        extra={
                            "fields": {
                                "node": node.metadata.name,
                                "original": address,
                                "updated": own[family],
                            }
                        },
                    )
            elif own.get(family) == address:
                log.error(
                    "Calico node '%s' is already using the IPv%d address %s.",
                    other.metadata.name,
                    family,
                    address,
                )
                conflicts.add(family)
    return conflicts


def clear(node: Node, families: set[int]) -> bool:
    """Takes addresses off the node; an empty ``spec.bgp`` goes too. Tells whether anything changed."""
    bgp = node.spec.bgp
    if bgp is None:
        return False
    before = (bgp.ipv4_address, bgp.ipv6_address)
    if 4 in families:
        bgp.ipv4_address = ""
    if 6 in families:
        bgp.ipv6_address = ""
    changed = before != (bgp.ipv4_address, bgp.ipv6_address)
    if bgp == NodeBGPSpec():
        node.spec.bgp = None
    return changed


def _ips(node: Node) -> dict[int, str]:
    bgp = node.spec.bgp or NodeBGPSpec()
    found = {}
    for family, text in ((4, bgp.ipv4_address), (6, bgp.ipv6_address)):
        try:
            found[family] = str(ipaddress.ip_interface(text).ip)
        except ValueError:
            continue
    return found
