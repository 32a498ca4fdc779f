"""``calicoctl ipam check --repair``: what the check found, as a plan that is shown first and then carried out.

Beyond upstream, which writes a report for ``ipam release`` and wants the datastore locked. Here every step is
proven again by a fresh read right before it, and written with compare-and-swap.
"""

from __future__ import annotations

import ipaddress
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from pycalico.api import names
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import IPAMHandle, IPAMHandleSpec
from pycalico.api.v3.node import Node
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.ipam import survey
from pycalico.calicoctl.ipam.report import Allocation, Handle
from pycalico.calicoctl.ipam.survey import Survey
from pycalico.datastore.client import Client
from pycalico.datastore.errors import AlreadyExists, Conflict, DatastoreError, NotFound
from pycalico.ipam.allocator import Allocator
from pycalico.ipam.block import Release
from pycalico.ipam.errors import IPAMError

#: The plugin takes an address a moment before there is an endpoint: what is younger is left alone.
_YOUNG_S = 120.0


class Step(msgspec.Struct):
    """``do`` is release, delete, create or keep; ``what`` the address or the handle."""

    do: str
    what: str
    why: str
    allocation: Allocation | None = None
    handle: Handle | None = None
    blocks: dict[str, int] = {}


class Outcome(msgspec.Struct):
    done: int = 0
    skipped: int = 0
    failed: int = 0


def plan(found: Survey, idle: Iterable[Handle], missing: Iterable[str], now_s: float) -> list[Step]:
    """``idle`` handles have no address, ``missing`` ones have addresses but no record. ``now_s`` is Unix time."""
    steps: list[Step] = []
    for ip, allocations in found.allocations.items():
        if ip not in found.users and ip not in found.tunnels:
            steps += [_leaked(ip, each, now_s) for each in allocations]
    steps += [Step("delete", each.id, "no address has this handle", handle=each) for each in idle]
    by_handle: dict[str, dict[str, int]] = {name: {} for name in missing}
    if by_handle:
        for ip in found.users:
            for each in found.allocations.get(ip, ()):
                if each.handle in by_handle:
                    counts = by_handle[each.handle]
                    counts[found.blocks[ip]] = counts.get(found.blocks[ip], 0) + 1
    steps += [
        Step("create", name, f"{sum(counts.values())} addresses in use have this handle", blocks=counts)
        for name, counts in by_handle.items()
        if counts
    ]
    return steps


def _leaked(ip: str, found: Allocation, now_s: float) -> Step:
    age_s = _age_s(found.creation_timestamp, now_s)
    old = "" if age_s is None else f", allocated {_duration(age_s)} ago"
    if age_s is not None and age_s < _YOUNG_S:
        return Step("keep", ip, f"its pod may be starting{old}", found)
    if found.pod:
        pod = f"{found.namespace}/{found.pod}"
        return Step("release", ip, f"no endpoint of pod {pod} has it (node {found.node or '?'}{old})", found)
    if found.type:
        return Step("release", ip, f"{found.type} that node {found.node or '?'} does not have{old}", found)
    return Step("keep", ip, f"nothing tells whose it is (handle {found.handle or 'none'}){old}", found)


def show(steps: list[Step]) -> None:
    if not steps:
        _say("\nNothing to repair.")
        return
    _say("\nPlan:")
    width = max(len(step.what) for step in steps)
    for step in steps:
        what = step.what if step.do in ("release", "keep") else f"handle {step.what}"
        _say(f"  {step.do:7}  {what:{width}}  {step.why}")


def asked(*, yes: bool) -> bool:
    """Whether to go on. Without a terminal nobody can be asked, and nothing is done."""
    if yes:
        return True
    if not sys.stdin.isatty():
        _say("\nNothing has been changed. To carry it out: calicoctl ipam check --repair --yes")
        return False
    sys.stdout.write("\nCarry it out? [y/N] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    _say("Nothing has been changed.")
    return False


def carry_out(client: Client, driver: Client, steps: list[Step]) -> None:
    """Raises Failure when a step failed; the others are done all the same."""
    outcome = Outcome()
    allocator = Allocator(driver)
    for step in steps:
        if step.do == "keep":
            continue
        try:
            skipped = _do(client, driver, allocator, step)
        except (Conflict, NotFound, AlreadyExists):
            skipped = "it has changed meanwhile"
        except (DatastoreError, IPAMError, ValueError) as error:
            outcome.failed += 1
            _say(f"  {step.do} {step.what}: {error}")
            continue
        if skipped:
            outcome.skipped += 1
            _say(f"  {step.do} {step.what}: left as it is, {skipped}")
        else:
            outcome.done += 1
    _say(f"Repaired {outcome.done}; {outcome.skipped} left as they are; {outcome.failed} failed.")
    if outcome.failed:
        raise Failure(f"{outcome.failed} of {len(steps)} steps failed")


def _do(client: Client, driver: Client, allocator: Allocator, step: Step) -> str:
    """Why nothing was done; empty when it was."""
    if step.handle is not None:
        driver.delete(IPAMHandle, step.what, revision=step.handle.revision, uid=step.handle.uid or "")
        return ""
    if step.do == "create":
        meta = ObjectMeta(name=step.what)
        driver.create(IPAMHandle(metadata=meta, spec=IPAMHandleSpec(handle_id=step.what, block=step.blocks)))
        return ""
    found = step.allocation
    if found is None:
        return ""
    if _is_used(client, step.what, found):
        return "it is in use now"
    release = Release(step.what, found.handle or None, found.sequence_number)
    return "it is free already" if allocator.release_ips([release]) else ""


def _is_used(client: Client, ip: str, found: Allocation) -> bool:
    wanted = ipaddress.ip_address(ip)
    if not found.pod:
        try:
            node = client.get(Node, found.node)
        except NotFound:
            return False
        return any(ipaddress.ip_address(text) == wanted for text in survey.tunnel_addresses(node))
    prefix = names.workload_endpoint(found.node, "k8s", found.pod, "") if found.node else ""
    endpoints = client.list(WorkloadEndpoint, found.namespace, name_prefix=prefix).items
    return any(
        ipaddress.ip_address(text) == wanted
        for endpoint in endpoints
        for text in survey.endpoint_addresses(endpoint)
    )


def _age_s(timestamp: str, now_s: float) -> float | None:
    """Of Go's default form, ``2026-11-23 05:33:13.546412234 +0000 UTC``; None when it is not that."""
    day, _, rest = timestamp.partition(" ")
    try:
        made = datetime.strptime(f"{day} {rest[:8]}", "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return now_s - made.timestamp()


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def now_s() -> float:
    return time.time()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
