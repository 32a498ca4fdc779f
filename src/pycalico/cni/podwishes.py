"""What a pod, or its namespace, asks of its network by annotations."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pycalico.cni import conftypes
from pycalico.cni.errors import CNIError
from pycalico.cni.netconf import NetConf

_PREFIX = "cni.projectcalico.org/"
IPV4_POOLS = _PREFIX + "ipv4pools"
IPV6_POOLS = _PREFIX + "ipv6pools"
IP_ADDRS = _PREFIX + "ipAddrs"
IP_ADDRS_NO_IPAM = _PREFIX + "ipAddrsNoIpam"
FLOATING_IPS = _PREFIX + "floatingIPs"
HW_ADDR = _PREFIX + "hwAddr"


class PodWishes(msgspec.Struct):
    """``addresses`` are single addresses, with ``no_ipam`` telling whether IPAM is to know of them.

    ``floating_ips`` and ``mac`` are as they were written.
    """

    ipv4_pools: list[str] | None = None
    ipv6_pools: list[str] | None = None
    addresses: list[str] = []
    no_ipam: bool = False
    floating_ips: str = ""
    mac: str | None = None


def parse(pod: Mapping[str, str], namespace: Mapping[str, str], config: NetConf) -> PodWishes:
    """Raises CNIError with upstream's texts when a wish is malformed, contradictory or not enabled."""
    wishes = PodWishes(mac=pod.get(HW_ADDR), floating_ips=pod.get(FLOATING_IPS, ""))
    if config.ipam_type == "calico-ipam":
        for name, field in ((IPV4_POOLS, "ipv4_pools"), (IPV6_POOLS, "ipv6_pools")):
            text = pod.get(name) or namespace.get(name)
            if text:
                setattr(wishes, field, _strings(text))
    with_ipam, without = pod.get(IP_ADDRS), pod.get(IP_ADDRS_NO_IPAM)
    if with_ipam and without:
        raise CNIError("can't have both annotations: 'ipAddrs' and 'ipAddrsNoIpam' in use at the same time")
    if (with_ipam or without) and config.ipam_type != "calico-ipam":
        wish = "ipAddrs" if with_ipam else "ipAddrsNoIpam"
        raise CNIError(f"{wish} is not compatible with configured IPAM: {config.ipam_type}")
    if without:
        if not config.feature_control.ip_addrs_no_ipam:
            raise CNIError("requested feature is not enabled: ip_addrs_no_ipam")
        wishes.addresses, wishes.no_ipam = _addresses(without, IP_ADDRS_NO_IPAM), True
    elif with_ipam:
        wishes.addresses = _addresses(with_ipam, IP_ADDRS)
    return wishes


def floating(text: str, config: NetConf) -> list[str]:
    """Raises CNIError when they are malformed or not enabled."""
    if not config.feature_control.floating_ips:
        raise CNIError("requested feature is not enabled: floating_ips")
    return _list(text)


def _strings(text: str) -> list[str]:
    try:
        return conftypes.strings(text)
    except conftypes.Misfit as error:
        raise CNIError(str(error)) from error


def _list(text: str) -> list[str]:
    try:
        return _strings(text)
    except CNIError as error:
        raise CNIError(f"failed to parse '{text}' as JSON: {error}") from error


def _addresses(text: str, annotation: str) -> list[str]:
    try:
        found = _list(text)
    except CNIError as error:
        raise CNIError(f'failed to parse IPs {text} for annotation "{annotation}": {error}') from error
    if not found:
        raise CNIError(f'annotation "{annotation}" specified but empty')
    from pycalico.api.validate import values  # noqa: PLC0415 - few pods ask for addresses

    addresses = []
    for item in found:
        address = values.address(item)
        if address is None:
            raise CNIError(f"invalid IP format: {item}")
        addresses.append(address)
    for version in (4, 6):
        if sum(address.version == version for address in addresses) > 1:
            raise CNIError(f'cannot have more than one IPv{version} address for "{annotation}" annotation')
    return [str(address) for address in addresses]
