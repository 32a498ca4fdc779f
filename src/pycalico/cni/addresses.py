"""What calico-ipam does, as functions: the plugin ``calico`` calls them in its own process."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Sequence

import msgspec

from pycalico.cni.errors import CNIError
from pycalico.cni.invocation import Invocation
from pycalico.cni.netconf import Arguments, NetConf
from pycalico.datastore.errors import DatastoreError, NotFound
from pycalico.ipam.allocator import Allocator, Assignment
from pycalico.ipam.block import Release
from pycalico.ipam.errors import IPAMError, NotAllocated

log = logging.getLogger(__name__)


class Wish(msgspec.Struct):
    """The ``ipam`` part of the conflist, after annotations have had their say."""

    assign_ipv4: bool = True
    assign_ipv6: bool = False
    ipv4_pools: list[str] = []
    ipv6_pools: list[str] = []
    address: str = ""


def wish_of(config: NetConf, arguments: Arguments) -> Wish:
    ipam = config.ipam
    return Wish(
        assign_ipv4=ipam.get("assign_ipv4") != "false",
        assign_ipv6=ipam.get("assign_ipv6") == "true",
        ipv4_pools=ipam.get("ipv4_pools", []),
        ipv6_pools=ipam.get("ipv6_pools", []),
        address=arguments.ip,
    )


def handle_of(config: NetConf, arguments: Arguments) -> str:
    return f"{config.name}.{arguments.container_id}"


def assign(call: Invocation, node: str, wish: Wish) -> list[str]:
    """Addresses in CIDR form: both families that are wished, or none. Raises CNIError."""
    config, arguments, allocator = call.config, call.arguments, call.allocator
    handle = handle_of(config, arguments)
    attributes = {"node": node, "timestamp": _timestamp()}
    if arguments.is_kubernetes:
        attributes |= {"pod": arguments.pod, "namespace": arguments.namespace}
    with call.stores.host_lock(config.ipam_lock_file):
        try:
            if wish.address:
                ip = ipaddress.ip_address(wish.address)
                ip = getattr(ip, "ipv4_mapped", None) or ip
                allocator.assign_ip(str(ip), handle, attributes, node)
                return [f"{ip}/{ip.max_prefixlen}"]
            return _auto_assign(allocator, handle, attributes, node, wish)
        except ValueError as error:
            raise CNIError(str(error)) from error
        except IPAMError as error:
            raise CNIError(str(error)) from error
        except DatastoreError as error:
            raise CNIError.of(error) from error


def _auto_assign(
    allocator: Allocator, handle: str, attributes: dict[str, str], node: str, wish: Wish
) -> list[str]:
    outcomes = allocator.auto_assign(
        int(wish.assign_ipv4),
        int(wish.assign_ipv6),
        handle,
        attributes,
        node,
        pools4=_cidrs(allocator, wish.ipv4_pools, 4),
        pools6=_cidrs(allocator, wish.ipv6_pools, 6),
    )
    for outcome in outcomes:
        if not outcome.complete:
            _give_back(allocator, handle, outcomes)
            raise CNIError(f"failed to request IPv{outcome.version} addresses: {outcome.shortfall()}")
    return [address for outcome in outcomes for address in outcome.addresses]


def _give_back(allocator: Allocator, handle: str, outcomes: Sequence[Assignment]) -> None:
    got = [Release(item.split("/")[0], handle) for outcome in outcomes for item in outcome.addresses]
    if got:
        allocator.release_ips(got, unused=True)


def _cidrs(allocator: Allocator, wanted: Sequence[str], version: int) -> list[str]:
    """Names of pools or CIDRs, as CIDRs. Raises CNIError."""
    if not wanted:
        return []
    by_name = {pool.name: str(pool.cidr) for pool in allocator.records.pools()}
    found = []
    for item in wanted:
        text = by_name.get(item, item)
        try:
            cidr = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise CNIError(f'error parsing pool "{item}": invalid CIDR address: {item}') from None
        if "/" not in text:
            raise CNIError(f'error parsing pool "{item}": invalid CIDR address: {item}')
        if cidr.version != version:
            raise CNIError(f'"{cidr.network_address}" isn\'t a IPv{version} address')
        found.append(str(cidr))
    return found


def release(call: Invocation, *, unused: bool = False) -> None:
    """Gives back everything that this container holds; nothing held is success. Raises CNIError.

    ``unused``: no container ever had them, so that they need no rest.
    """
    config, arguments, allocator = call.config, call.arguments, call.allocator
    old = f"{arguments.namespace}.{arguments.pod}" if arguments.is_kubernetes else arguments.container_id
    with call.stores.host_lock(config.ipam_lock_file):
        for handle in (handle_of(config, arguments), old):
            try:
                allocator.release_by_handle(handle, unused=unused)
            except NotFound:
                log.log(
                    logging.WARNING if handle != old else logging.DEBUG,
                    "Asked to release address but it doesn't exist. Ignoring handle %s",
                    handle,
                )
            except IPAMError as error:
                raise CNIError(str(error)) from error
            except DatastoreError as error:
                raise CNIError.of(error) from error


def release_of_pod(call: Invocation, networks: Sequence[str]) -> None:
    """Gives back what the pod has from its container before, so that this one can have it. Raises CNIError."""
    allocator, pod = call.allocator, (call.arguments.namespace, call.arguments.pod)
    try:
        for network in networks:
            address = network.split("/")[0]
            try:
                holder = allocator.assignment_attributes(address)
            except NotAllocated:
                continue
            if (holder.attributes.get("namespace"), holder.attributes.get("pod")) == pod:
                allocator.release_ips([Release(address, holder.handle, holder.sequence_number)])
    except IPAMError as error:
        raise CNIError(f"failed to release ipAddrs: {error}") from error
    except DatastoreError as error:
        raise CNIError.of(error, "failed to release ipAddrs: ") from error


def _timestamp() -> str:
    """Go's default form in UTC: ``2026-11-23 05:33:13.546412234 +0000 UTC``."""
    now = time.time_ns()
    fraction = f".{now % 10**9:09d}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now // 10**9)) + fraction + " +0000 UTC"
