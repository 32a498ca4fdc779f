"""Pools, sets, reservations and IPAM's configuration."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from pycalico.api.v3.ipam import BlockAffinity, IPAMConfig
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.ipreservation import IPReservation
from pycalico.api.v3.networkset import GlobalNetworkSet, NetworkSet
from pycalico.api.validate import values
from pycalico.api.validate.faults import Faults

_MODES = values.one_of("Always", "CrossSubnet", "Never")
_USES = ("Workload", "Tunnel")
_SIZES = {4: (20, 32), 6: (116, 128)}
_LINK_LOCAL = {4: ipaddress.ip_network("169.254.0.0/16"), 6: ipaddress.ip_network("fe80::/10")}
_TOO_SMALL = (
    "IP pool size is too small for use with Calico IPAM. It must be equal to or greater than the block size."
)
_NAMESPACE_LABEL = "projectcalico.org/namespace"


def pool(faults: Faults, found: IPPool) -> None:
    """After ``pool_change``: what is left are the enumerations and legacy fields."""
    spec = found.spec
    faults.field("VXLANMode", spec.vxlan_mode, "vxlanMode", _MODES)
    faults.field("IPIPMode", spec.ipip_mode, "ipIpMode", _MODES)
    faults.field("NodeSelector", spec.node_selector, "selector", values.is_selector)
    if spec.ipip is not None and not _MODES(spec.ipip.mode):
        # With a known mode the relic of old is accepted; nothing reads it.
        faults.tag("Mode", spec.ipip.mode, "ipIpMode")
    if spec.nat_outgoing_v1:
        faults.tag("NATOutgoingV1", spec.nat_outgoing_v1, "mustBeFalse")
    for use in spec.allowed_uses:
        if use not in _USES:
            faults.add("IPpool.AllowedUses", spec.allowed_uses, f"unknown use: {use}")


def pool_change(new: IPPool, old: IPPool | None, others: Iterable[IPPool]) -> None:
    """Checks a pool with its defaults filled in against what it was and against the other pools.

    ``old`` is None for a new pool; only then do ``others`` count. Writes the CIDR in its normal form.
    Raises ValidationError.
    """
    faults = Faults()
    spec = new.spec
    if not spec.cidr:
        faults.bare("IPPool.Spec.CIDR", "IPPool CIDR must be specified")
        faults.raise_any()
    parsed = values.parts(spec.cidr) if "/" in spec.cidr else None
    if parsed is None:
        faults.add("IPPool.Spec.CIDR", spec.cidr, "IPPool CIDR must be a valid subnet")
        faults.raise_any()
        return
    address, network = parsed
    # An IPv4 network in the notation of IPv6 counts with the length that is written.
    written = int(spec.cidr.partition("/")[2])
    spec.cidr = str(network)
    if old is not None and old.spec.cidr != spec.cidr:
        faults.add("IPPool.Spec.CIDR", spec.cidr, "IPPool CIDR cannot be modified")
    if old is not None and old.spec.block_size != spec.block_size:
        faults.add("IPPool.Spec.BlockSize", spec.block_size, "IPPool BlockSize cannot be modified")
    least, most = _SIZES[network.version]
    if not least <= spec.block_size <= most:
        faults.add(
            "IPPool.Spec.BlockSize",
            spec.block_size,
            f"IPv{network.version} block size must be between {least} and {most}",
        )
    if not spec.disabled and written > spec.block_size:
        faults.add("IPPool.Spec.CIDR", spec.cidr, _TOO_SMALL)
    if old is None:
        _overlaps(faults, new, network, others)
    if spec.vxlan_mode != "Never" and spec.ipip_mode != "Never":
        faults.add(
            "IPPool.Spec.VXLANMode", spec.vxlan_mode, "Cannot enable both VXLAN and IPIP on the same IPPool"
        )
    if network.version == 6 and spec.ipip_mode != "Never":
        faults.add("IPPool.Spec.IPIPMode", spec.ipip_mode, "IPIP is not supported on an IPv6 IP pool")
    if address != network.network_address:
        faults.add("IPPool.Spec.CIDR", spec.cidr, "IPPool CIDR is not strictly masked")
    link_local = _LINK_LOCAL[network.version]
    if network.overlaps(link_local):
        faults.add(
            "IPPool.Spec.CIDR",
            spec.cidr,
            f"IPPool CIDR overlaps with IPv{network.version} Link Local range {link_local}",
        )
    faults.raise_any()


def _overlaps(faults: Faults, new: IPPool, network: values.Network, others: Iterable[IPPool]) -> None:
    for other in others:
        if other.metadata.name == new.metadata.name:
            continue
        found = values.parts(other.spec.cidr)
        if found is not None and found[1].version == network.version and found[1].overlaps(network):
            faults.add(
                "IPPool.Spec.CIDR",
                new.spec.cidr,
                f"IPPool({new.metadata.name}) CIDR overlaps with IPPool({other.metadata.name}) "
                f"CIDR {other.spec.cidr}",
            )


def network_set(faults: Faults, found: NetworkSet | GlobalNetworkSet) -> None:
    faults.each("Nets", found.spec.nets, "cidr", values.is_cidr)
    if _NAMESPACE_LABEL in found.metadata.labels:
        faults.add(
            "Metadata.Labels (label)", _NAMESPACE_LABEL, f"{_NAMESPACE_LABEL} is not a valid label name"
        )


def reservation(faults: Faults, found: IPReservation) -> None:
    faults.field("ReservedCIDRs", found.spec.reserved_cidrs, "cidrs", values.are_cidrs)


def ipam_config(faults: Faults, found: IPAMConfig) -> None:
    if found.spec.max_blocks_per_host < 0:
        faults.add("MaxBlocksPerHost", found.spec.max_blocks_per_host, "must be greater than or equal to 0")


def affinity(faults: Faults, found: BlockAffinity) -> None:
    if found.spec.deleted == "true":
        faults.add("Spec.Deleted", found.spec.deleted, 'spec.Deleted cannot be set to "true"')
