"""What a pod, or its namespace, asks of its network by annotations."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import msgspec

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
    """``addresses`` are single addresses, with ``no_ipam`` telling whether IPAM is to know of them."""

    ipv4_pools: list[str] | None = None
    ipv6_pools: list[str] | None = None
    addresses: list[str] = []
    no_ipam: bool = False
    floating_ips: list[str] = []
    mac: str = ""


def parse(pod: Mapping[str, str], namespace: Mapping[str, str], config: NetConf) -> PodWishes:
    """Raises CNIError with upstream's texts when a wish is malformed, contradictory or not enabled."""
    with_ipam, without = pod.get(IP_ADDRS), pod.get(IP_ADDRS_NO_IPAM)
    if with_ipam is not None and without is not None:
        raise CNIError("can't have both annotations: 'ipAddrs' and 'ipAddrsNoIpam' in use at the same time")
    wishes = PodWishes(mac=pod.get(HW_ADDR, ""))
    for name, field in ((IPV4_POOLS, "ipv4_pools"), (IPV6_POOLS, "ipv6_pools")):
        text = pod.get(name) or namespace.get(name)
        if text:
            setattr(wishes, field, _strings(text))
    if without is not None:
        if not config.feature_control.ip_addrs_no_ipam:
            raise CNIError("requested feature is not enabled: ip_addrs_no_ipam")
        wishes.addresses, wishes.no_ipam = _addresses(without, IP_ADDRS_NO_IPAM), True
    elif with_ipam is not None:
        if config.ipam_type != "calico-ipam":
            raise CNIError(f"ipAddrs is not compatible with configured IPAM: {config.ipam_type}")
        wishes.addresses = _addresses(with_ipam, IP_ADDRS)
    if pod.get(FLOATING_IPS):
        if not config.feature_control.floating_ips:
            raise CNIError("requested feature is not enabled: floating_ips")
        wishes.floating_ips = _list(pod[FLOATING_IPS])
    return wishes


def _strings(text: str) -> list[str]:
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.DecodeError as error:
        from pycalico.base import jsonerror  # noqa: PLC0415 - texts that parse do without

        raise CNIError(jsonerror.flaw(text) or str(error)) from error


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
    for item in found:
        try:
            ipaddress.ip_address(item)
        except ValueError:
            raise CNIError(f"invalid IP format: {item}") from None
    for version in (4, 6):
        if sum(ipaddress.ip_address(item).version == version for item in found) > 1:
            raise CNIError(f'cannot have more than one IPv{version} address for "{annotation}" annotation')
    return found
