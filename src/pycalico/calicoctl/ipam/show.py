"""``calicoctl ipam show``: how pools and blocks are used, and by whom."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from pycalico.api.v3.ipam import IPAMBlock, IPAMBlockSpec
from pycalico.api.v3.ippool import IPPool
from pycalico.calicoctl import connection, grid
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.ipam import address
from pycalico.calicoctl.ipam.address import Range
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.client import Client
from pycalico.datastore.errors import DatastoreError
from pycalico.ipam import block as blocks
from pycalico.ipam.errors import IPAMError, NotAllocated

_USE = ("GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE")
_BORROWED = ("IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO")


def run(arguments: Arguments) -> None:
    """Raises Failure."""
    driver = connection.checked(arguments).driver
    try:
        if "--ip" in arguments.texts:
            text = _holder(driver, address.parsed(arguments.texts["--ip"]))
        elif "--show-borrowed" in arguments.switches:
            text = _borrowed(driver)
        elif "--show-configuration" in arguments.switches:
            text = _configuration(driver)
        else:
            text = _use(driver, with_blocks="--show-blocks" in arguments.switches)
    except (DatastoreError, IPAMError) as error:
        raise Failure(error) from error
    sys.stdout.write(text)


def _holder(driver: Client, ip: str) -> str:
    from pycalico.ipam.allocator import Allocator  # noqa: PLC0415 (loaded for one address alone)

    try:
        attributes = Allocator(driver).assignment_attributes(ip).attributes
    except NotAllocated:
        return f"{ip} is not assigned\n"
    if not attributes:
        return f"IP {ip} is in use\nNo attributes defined\n"
    return f"IP {ip} is in use\nAttributes:\n" + "".join(
        f"  {key}: {value}\n" for key, value in attributes.items()
    )


def _use(driver: Client, *, with_blocks: bool) -> str:
    """A row for each pool, with its blocks below it, then the blocks of no pool."""
    listed = driver.list(IPPool).items
    pools = {pool.spec.cidr: address.range_of(pool.spec.cidr) for pool in listed}
    homes: dict[str, list[IPAMBlockSpec]] = {}
    for each in _blocks(driver):
        homes.setdefault(_home(each.spec, pools.items()), []).append(each.spec)
    rows: list[list[str]] = []
    for cidr, span in pools.items():
        inside = homes.get(cidr, [])
        rows.append(_row("IP Pool", cidr, sum(map(_used, inside)), span.last - span.first + 1))
        if with_blocks:
            rows += map(_block_row, inside)
    if with_blocks:
        rows += map(_block_row, homes.get("", []))
    return grid.render(_USE, rows)


def _blocks(driver: Client) -> Iterable[IPAMBlock]:
    return (block for block in driver.list(IPAMBlock).items if not block.spec.deleted)


def _home(spec: IPAMBlockSpec, pools: Iterable[tuple[str, Range]]) -> str:
    """The CIDR of the pool that holds a block; empty when none does."""
    family, first = address.number(spec.cidr.partition("/")[0])
    return next((cidr for cidr, span in pools if span.holds(family, first)), "")


def _block_row(spec: IPAMBlockSpec) -> list[str]:
    return _row("Block", spec.cidr, _used(spec), _size(spec))


def _used(spec: IPAMBlockSpec) -> int:
    return _size(spec) - len(spec.unallocated)


def _size(spec: IPAMBlockSpec) -> int:
    bits = 128 if ":" in spec.cidr else 32
    return 1 << (bits - int(spec.cidr.rpartition("/")[2]))


def _row(kind: str, cidr: str, used: int, total: int) -> list[str]:
    free = total - used
    return [kind, cidr, f"{total:.5g}", _share(used, total), _share(free, total)]


def _share(part: int, total: int) -> str:
    return f"{part:.5g} ({100 * part / total:.0f}%)"


def _borrowed(driver: Client) -> str:
    rows: list[list[str]] = []
    unknown = 0
    for each in _blocks(driver):
        family, first = address.number(each.spec.cidr.partition("/")[0])
        owner = blocks.owner(each.spec) or ""
        for ordinal, holder in blocks.allocated(each.spec):
            node = holder.attributes.get("node")
            if node is None:
                unknown += 1
            elif node != owner:
                ip = address.text(family, first + ordinal)
                rows.append([ip, node, each.spec.cidr, owner, *_user(holder.attributes)])
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


def _configuration(driver: Client) -> str:
    from pycalico.ipam.records import Records  # noqa: PLC0415

    spec = Records(driver).config().spec
    rows = [
        ["StrictAffinity", str(spec.strict_affinity).lower()],
        ["AutoAllocateBlocks", str(spec.auto_allocate_blocks).lower()],
        ["MaxBlocksPerHost", str(spec.max_blocks_per_host)],
    ]
    return grid.render(("PROPERTY", "VALUE"), rows)
