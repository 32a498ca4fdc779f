"""The default IP pools: what the environment asks for, checked, and created where a family has none."""

from __future__ import annotations

import ipaddress
import logging
import re
import secrets
from collections.abc import Mapping, Sequence

import msgspec

from pycalico.api import selector
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.datastore.client import Client
from pycalico.datastore.errors import AlreadyExists
from pycalico.node.fatal import Fatal

log = logging.getLogger(__name__)

_PREFERRED = ipaddress.ip_network("192.168.0.0/16")
_OTHERS = [ipaddress.ip_network(f"172.{number}.0.0/16") for number in range(16, 32)]
_MODES = {
    "": "Never", "off": "Never", "never": "Never", "always": "Always",
    "cross-subnet": "CrossSubnet", "crosssubnet": "CrossSubnet",
}  # fmt: skip
_SIZES = {4: (26, 20, 32), 6: (122, 116, 128)}
_NO = ("false", "0", "no", "n", "f")
_POD_SUBNET = re.compile(r"^\s*podSubnet:\s*['\"]?([^'\"\s#]+)", re.MULTILINE)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Wanted(msgspec.Struct):
    """One family's pool, all but its CIDR, which is "" when nobody named one."""

    family: int
    cidr: str
    spec: IPPoolSpec


def wanted(environ: Mapping[str, str], kubeadm: Mapping[str, str] | None) -> list[Wanted]:
    """The pools the environment describes, none with NO_DEFAULT_POOLS. Raises Fatal for what cannot be."""
    if environ.get("NO_DEFAULT_POOLS", "").lower() == "true":
        for name in ("CALICO_IPV4POOL_CIDR", "CALICO_IPV6POOL_CIDR"):
            if environ.get(name):
                raise Fatal(f"Invalid configuration: NO_DEFAULT_POOLS is set to true and {name} is set")
        return []
    subnets = kubeadm_subnets(kubeadm or {})
    return [_wanted(family, environ, subnets.get(family, "")) for family in (4, 6)]


def kubeadm_subnets(config_map: Mapping[str, str]) -> dict[int, str]:
    """The first CIDR of each family in kubeadm's ``podSubnet``."""
    found: dict[int, str] = {}
    for text in config_map.values():
        match = _POD_SUBNET.search(text)
        for part in match[1].split(",") if match else []:
            try:
                network = ipaddress.ip_network(part.strip(), strict=False)
            except ValueError:
                log.warning("kubeadm's podSubnet %r is no CIDR; ignored", part)
                continue
            found.setdefault(network.version, str(network))
    return found


def _wanted(family: int, environ: Mapping[str, str], kubeadm_cidr: str) -> Wanted:
    prefix = f"CALICO_IPV{family}POOL_"
    default, least, most = _SIZES[family]
    size = _block_size(prefix + "BLOCK_SIZE", environ.get(prefix + "BLOCK_SIZE", ""), default, least, most)
    node_selector = environ.get(prefix + "NODE_SELECTOR", "") or "all()"
    try:
        selector.parse(node_selector)
    except selector.SelectorError as error:
        raise Fatal(f"Invalid {prefix}NODE_SELECTOR {node_selector!r}: {error}") from error
    cidr = environ.get(prefix + "CIDR", "")
    if cidr:
        cidr = _checked(prefix + "CIDR", cidr, family, size)
    elif kubeadm_cidr:
        cidr = _checked("kubeadm's podSubnet", kubeadm_cidr, family, size)
    nat = environ.get(prefix + "NAT_OUTGOING", "")
    spec = IPPoolSpec(
        cidr=cidr,
        ipip_mode=_mode(prefix + "IPIP", environ) if family == 4 else "Never",
        vxlan_mode=_mode(prefix + "VXLAN", environ),
        nat_outgoing=(nat.lower() not in _NO) if nat else family == 4,
        disable_bgp_export=_truth(environ.get(prefix + "DISABLE_BGP_EXPORT", "")),
        block_size=size,
        node_selector=node_selector,
        allowed_uses=["Workload", "Tunnel"],
    )
    if spec.ipip_mode != "Never" and spec.vxlan_mode != "Never":
        raise Fatal(f"{prefix}IPIP and {prefix}VXLAN cannot both be on: set one of them to Never")
    return Wanted(family, cidr, spec)


def _mode(name: str, environ: Mapping[str, str]) -> str:
    text = environ.get(name, "")
    if text.lower() not in _MODES:
        raise Fatal(f"Unrecognized mode specified in {name}={text}: use Never, Always or CrossSubnet")
    return _MODES[text.lower()]


def _truth(text: str) -> bool:
    return bool(text) and text.lower() not in _NO


def _block_size(name: str, text: str, default: int, least: int, most: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise Fatal(f"Invalid {name}={text}: use a number from {least} to {most}")
    return int(text)


def _checked(name: str, text: str, family: int, size: int) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        network = None
    if network is None or network.version != family:
        raise Fatal(f"Invalid CIDR specified in {name} '{text}'")
    if network.prefixlen > size:
        raise Fatal(f"{name} {network} is too small for blocks of /{size}: use a /{size} or larger range")
    return str(network)


def default_v4_cidr(local: Sequence[Network]) -> str:
    """192.168.0.0/16, or the first of 172.16.0.0/16 to 172.31.0.0/16 in which the machine has no address."""
    for network in (_PREFERRED, *_OTHERS):
        if not any(isinstance(own, ipaddress.IPv4Network) and own.overlaps(network) for own in local):
            return str(network)
    return str(_PREFERRED)


def random_v6_cidr() -> str:
    """A unique local range: ``fd`` and 40 random bits."""
    return str(ipaddress.ip_network((b"\xfd" + secrets.token_bytes(5) + bytes(10), 48)))


def ensure(client: Client, pools: Sequence[Wanted], local: Sequence[Network], *, ipv6: bool) -> None:
    """Creates ``default-ipv4-ippool`` and ``default-ipv6-ippool`` where the family has no pool at all."""
    if not pools:
        log.info("Skipping IP pool configuration")
        return
    existing = client.list(IPPool).items
    for pool in pools:
        if any((":" in found.spec.cidr) == (pool.family == 6) for found in existing):
            continue
        if pool.family == 6 and not ipv6:
            continue
        spec = msgspec.structs.replace(pool.spec)
        spec.cidr = pool.cidr or (default_v4_cidr(local) if pool.family == 4 else random_v6_cidr())
        name = f"default-ipv{pool.family}-ippool"
        log.info("Ensure default IPv%d pool is created. IPIP mode: %s", pool.family, spec.ipip_mode)
        try:
            client.create(IPPool(metadata=ObjectMeta(name=name), spec=spec))
            log.info(
                "Created default IPv%d pool (%s) with NAT outgoing %s",
                pool.family,
                spec.cidr,
                spec.nat_outgoing,
            )
        except AlreadyExists:
            log.info("Pool %s was created by another node", name)
