"""``calicoctl ipam show``: how pools and blocks are used, and by whom."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable

from pycalico.api.v3.ipam import IPAMBlockSpec
from pycalico.calicoctl import connection, grid
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.ipam import address
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.errors import DatastoreError
from pycalico.ipam import block as blocks
from pycalico.ipam.allocator import Allocator
from pycalico.ipam.errors import IPAMError, NotAllocated
from pycalico.ipam.records import Records
from pycalico.ipam.sequence import Network

_USE = ("GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE")
_BORROWED = ("IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO")


def run(arguments: Arguments) -> None:
    """Raises Failure."""
    client = connection.checked(arguments)
    records = Records(client.driver)
    try:
        if "--ip" in arguments.texts:
            text = _holder(records, address.parsed(arguments.texts["--ip"]))
        elif "--show-borrowed" in arguments.switches:
            text = _borrowed(records)
        elif "--show-configuration" in arguments.switches:
            text = _configuration(records)
        else:
            text = _use(records, with_blocks="--show-blocks" in arguments.switches)
    except (DatastoreError, IPAMError) as error:
        raise Failure(error) from error
    sys.stdout.write(text)


def _holder(records: Records, ip: str) -> str:
    try:
        attributes = Allocator(records).assignment_attributes(ip).attributes
    except NotAllocated:
        return f"{ip} is not assigned\n"
    if not attributes:
        return f"IP {ip} is in use\nNo attributes defined\n"
    return f"IP {ip} is in use\nAttributes:\n" + "".join(
        f"  {key}: {value}\n" for key, value in attributes.items()
    )


def _use(records: Records, *, with_blocks: bool) -> str:
    """A row for each pool, with its blocks below it, then the blocks of no pool."""
    pools: list[Network] = [pool.cidr for pool in records.pools()]
    found = [(blocks.network(each.spec), each.spec) for each in records.blocks()]
    homes: dict[Network | None, list[tuple[Network, IPAMBlockSpec]]] = {}
    for cidr, spec in found:
        homes.setdefault(_home(cidr, pools), []).append((cidr, spec))
    rows: list[list[str]] = []
    for home in (*pools, None):
        inside = homes.get(home, [])
        if home is not None:
            used = sum(_used(spec) for _, spec in inside)
            rows.append(_row("IP Pool", home, used, home.num_addresses))
        if with_blocks:
            rows += [_row("Block", cidr, _used(spec), len(spec.allocations)) for cidr, spec in inside]
    return grid.render(_USE, rows)


def _home(cidr: Network, pools: Iterable[Network]) -> Network | None:
    return next((pool for pool in pools if pool.version == cidr.version and cidr[0] in pool), None)


def _used(spec: IPAMBlockSpec) -> int:
    return len(spec.allocations) - len(spec.unallocated)


def _row(kind: str, cidr: Network, used: int, total: int) -> list[str]:
    free = total - used
    return [kind, str(cidr), f"{total:.5g}", _share(used, total), _share(free, total)]


def _share(part: int, total: int) -> str:
    return f"{part:.5g} ({100 * part / total:.0f}%)"


def _borrowed(records: Records) -> str:
    rows: list[list[str]] = []
    unknown = 0
    for each in records.blocks():
        cidr = blocks.network(each.spec)
        owner = blocks.owner(each.spec) or ""
        for ordinal, holder in blocks.allocated(each.spec):
            node = holder.attributes.get("node")
            if node is None:
                unknown += 1
            elif node != owner:
                ip = ipaddress.ip_address(int(cidr[0]) + ordinal)
                rows.append([str(ip), node, str(cidr), owner, *_user(holder.attributes)])
    text = grid.render(_BORROWED, rows)
    if unknown:
        text += (
            f"\nNote: found {unknown} IP allocations without an explicit node association. "
            "Unable to determine if they are borrowed.\n"
        )
    return text


def _user(attributes: dict[str, str]) -> tuple[str, str]:
    """What holds an address, and which one."""
    if "pod" in attributes:
        return "pod", f"{attributes.get('namespace', '')}/{attributes['pod']}"
    return attributes.get("type", ""), ""


def _configuration(records: Records) -> str:
    spec = records.config().spec
    rows = [
        ["StrictAffinity", str(spec.strict_affinity).lower()],
        ["AutoAllocateBlocks", str(spec.auto_allocate_blocks).lower()],
        ["MaxBlocksPerHost", str(spec.max_blocks_per_host)],
    ]
    return grid.render(("PROPERTY", "VALUE"), rows)
