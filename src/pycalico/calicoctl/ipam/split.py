"""``calicoctl ipam split``: replaces a pool by smaller ones within its CIDR."""

from __future__ import annotations

import ipaddress
import re
import sys

import msgspec

from pycalico.api import defaults, validate
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ippool import IPPool
from pycalico.api.validate import addresses
from pycalico.calicoctl import connection, lock
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.typed import TypedClient

#: Names of 253 characters at most: the pool's is cut to make room for what is added.
_LONGEST, _KEPT = 253, 245
_INT64 = 2**63


def run(arguments: Arguments) -> None:
    """The pool is disabled before the number is looked at, and stays so when that fails, as upstream."""
    name, cidr = arguments.text("--name"), arguments.text("--cidr")
    connection.check_version(arguments)
    if not name and not cidr:
        raise Failure("No name or CIDR provided. Provide a name or CIDR to denote the IP pool to split.")
    client = connection.checked(arguments)
    if not lock.is_locked(client):
        raise Failure(
            "Datastore is not locked. Run the `calicoctl datastore migrate lock` command in order split the IP pools."
        )
    pool = _find(client, name, cidr)
    pool.spec.disabled = True
    try:
        pool = client.update(pool)
    except DatastoreError as error:
        raise Failure(f"Error disabling IP pool {cidr}") from error
    count = _number(arguments.words["NUMBER"])
    try:
        parts = split(pool.spec.cidr, count)
    except ValueError as error:
        raise Failure(f"Error splitting the CIDR {pool.spec.cidr} into {count} CIDRs: {error}") from error
    created = [_create(client, pool, part, index) for index, part in enumerate(parts)]
    try:
        # Not through the typed client: the blocks keep their hosts, for they belong to the new pools now.
        client.driver.delete(IPPool, pool.metadata.name)
    except DatastoreError as error:
        raise Failure(f"Error removing the IP pool that was split {pool.metadata.name}: {error}") from error
    sys.stdout.write(
        f"IP Pool {pool.metadata.name} was successfully split into {count} smaller pools."
        + "".join(f"Created {each.metadata.name} with CIDR {each.spec.cidr}.\n" for each in created)
        + "Please refer to the documentation for final steps."
    )


def _find(client: TypedClient, name: str, cidr: str) -> IPPool:
    if name:
        try:
            return client.get(IPPool, name)
        except DatastoreError as error:
            raise Failure(f"Unable to find IP pool with name {name}: {error}") from error
    try:
        found = [each for each in client.list(IPPool).items if each.spec.cidr == cidr]
    except DatastoreError as error:
        raise Failure(f"Unable to list IP pools to find the pool specified by {cidr}") from error
    if not found:
        raise Failure(f"Unable to find IP pool {name} covering the specified CIDR {cidr}")
    return found[-1]


def _number(text: str) -> int:
    reason = ""
    if not re.fullmatch(r"[-+]?[0-9]+", text):
        reason = "invalid syntax"
    elif not -_INT64 <= int(text) < _INT64:
        reason = "value out of range"
    if reason:
        raise Failure(
            f"Error reading number to split IP pools into. {text} is not a valid number: "
            f'strconv.Atoi: parsing "{text}": {reason}'
        )
    return int(text)


def split(cidr: str, count: int) -> list[str]:
    """``cidr`` in ``count`` equal parts. Raises ValueError."""
    if count < 2 or count & (count - 1):
        raise ValueError(f"Number to split CIDR into is not a valid power of 2: {count}")
    network = ipaddress.ip_network(cidr, strict=False)
    power = count.bit_length() - 1
    if network.prefixlen + power > network.max_prefixlen:
        raise ValueError(f"The CIDR {cidr} is not large enough to be split into {count} parts")
    return [str(part) for part in network.subnets(prefixlen_diff=power)]


def _create(client: TypedClient, pool: IPPool, cidr: str, index: int) -> IPPool:
    """A part with all that the pool had, enabled. It may lie within the pool, which is still there."""
    name = f"split-{pool.metadata.name}-{index}"
    if len(name) > _LONGEST:
        name = f"split-{pool.metadata.name[:_KEPT]}-{index}"
    meta = ObjectMeta(name=name, labels=pool.metadata.labels, annotations=pool.metadata.annotations)
    spec = msgspec.structs.replace(pool.spec, cidr=cidr, disabled=False)
    part = IPPool(metadata=meta, spec=spec)
    try:
        defaults.fill(part)
        addresses.pool_change(part, None, [])
        validate.check(part)
        return client.driver.create(part)
    except (DatastoreError, validate.ValidationError) as error:
        raise Failure(f"Error using unsafe create to make split pool with cidr {cidr}: {error}") from error
