"""``calicoctl ipam check``: compares what is allocated with what is in use."""

from __future__ import annotations

import sys
from collections.abc import Callable

from pycalico import CALICO_VERSION
from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.api.v3.ipam import IPAMBlock, IPAMHandle
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.node import Node
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint
from pycalico.calicoctl import connection, output
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.ipam import address, survey
from pycalico.calicoctl.ipam.address import Range
from pycalico.calicoctl.ipam.report import Handle, Report
from pycalico.calicoctl.ipam.survey import Survey
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.typed import TypedClient

_MOST_NODES = 20
Say = Callable[[str], None]


def run(arguments: Arguments) -> None:
    """Problems found do not change the exit code. Raises Failure."""
    connection.ask_ahead(arguments, "IPAMBlock", each=True)
    connection.ask_ahead(arguments, "Node")
    connection.ask_ahead(arguments, "WorkloadEndpoint", each=True)
    client = connection.checked(arguments)
    try:
        _Check(client, arguments).run()
    except (DatastoreError, ValueError) as error:
        raise Failure(error) from error


class _Check:
    def __init__(self, client: TypedClient, arguments: Arguments) -> None:
        self._client = client
        self._report_to = arguments.text("--output")
        self._repairs = "--repair" in arguments.switches
        self._yes = "--yes" in arguments.switches
        show_all = "--show-all-ips" in arguments.switches
        self._all: Say = _say if show_all else _silent
        self._problem: Say = _say if show_all or "--show-problem-ips" in arguments.switches else _silent
        self._survey = Survey(note=_say if show_all else None)
        self._problems = 0

    def run(self) -> None:
        _say("Checking IPAM for inconsistencies...\n")
        information = self._client.get(ClusterInformation, "default")
        self._load_blocks()
        active = self._load_pools()
        self._load_users()
        handles = self._load_handles()
        self._show_nodes()
        self._find_leaked()
        self._find_unallocated(active)
        leaked = self._find_idle_handles(handles)
        missing = self._find_missing_handles(handles)
        _say(f"Check complete; found {self._problems} problems.")
        if self._report_to:
            self._write_report(information, leaked)
        if self._repairs:
            self._repair(leaked, missing)

    def _repair(self, leaked: list[Handle], missing: list[str]) -> None:
        from pycalico.calicoctl.ipam import repair  # noqa: PLC0415 (a check alone does without)

        steps = repair.plan(self._survey, leaked, missing, repair.now_s())
        repair.show(steps)
        if any(step.do != "keep" for step in steps) and repair.asked(yes=self._yes):
            repair.carry_out(self._client, self._client.driver, steps)

    def _load_blocks(self) -> None:
        _say("Loading all IPAM blocks...")
        found = list(survey.each(self._client, IPAMBlock))
        _say(f"Found {len(found)} IPAM blocks.")
        count = 0
        for each in found:
            affinity = each.spec.affinity or "<none>"
            _say(f" IPAM block {each.spec.cidr} affinity={affinity}:")
            count += self._survey.add_block(each)
        _say(f"IPAM blocks record {count} allocations.\n")

    def _load_pools(self) -> list[Range]:
        _say("Loading all IPAM pools...")
        active: list[Range] = []
        for each in self._client.list(IPPool).items:
            if not each.spec.disabled:
                _say(f"  {each.spec.cidr}")
                active.append(address.range_of(each.spec.cidr))
        _say(f"Found {len(active)} active IP pools.\n")
        return active

    def _load_users(self) -> None:
        _say("Loading all nodes.")
        count = 0
        for node in self._client.list(Node).items:
            for ip in survey.tunnel_addresses(node):
                self._survey.tunnels[ip] = node.metadata.name
            for ip in survey.node_addresses(node):
                self._survey.add_use(ip, f"Node({node.metadata.name})")
                count += 1
        _say(f"Found {count} node tunnel IPs.\n")
        _say("Loading all workload endpoints.")
        count = 0
        for endpoint in survey.each(self._client, WorkloadEndpoint):
            meta = endpoint.metadata
            for ip in survey.endpoint_addresses(endpoint):
                self._survey.add_use(ip, f"Workload({meta.namespace}/{meta.name})")
                count += 1
        _say(f"Found {count} workload IPs.")
        _say(f"Workloads and nodes are using {len(self._survey.users)} IPs.\n")

    def _load_handles(self) -> dict[str, Handle]:
        _say("Loading all handles")
        return {
            each.spec.handle_id: Handle(
                each.spec.handle_id, each.metadata.uid or None, each.metadata.resource_version
            )
            for each in survey.each(self._client, IPAMHandle)
        }

    def _show_nodes(self) -> None:
        _say(f"Looking for top (up to {_MOST_NODES}) nodes by allocations...")
        counts = sorted(self._survey.by_node.items(), key=lambda each: (-each[1], each[0]))
        for node, count in counts[:_MOST_NODES]:
            _say(f"  {node} has {count} allocations")
        if counts:
            median = counts[len(counts) // 2][1]
            _say(f"Node with most allocations has {counts[0][1]}; median is {median}")
        _say("")

    def _find_leaked(self) -> None:
        _say("Scanning for IPs that are allocated but not actually in use...")
        leaked = [ip for ip in self._survey.allocations if ip not in self._survey.users]
        for ip in leaked if self._problem is not _silent else ():
            self._problem(f"  {ip} leaked; attrs {survey.described(self._survey.holders[ip])}")
        self._problems += len(leaked)
        _say(f"Found {len(leaked)} IPs that are allocated in IPAM but not actually in use.")

    def _find_unallocated(self, active: list[Range]) -> None:
        _say("Scanning for IPs that are in use by a workload or node but not allocated in IPAM...")
        outside = inside = 0
        for ip, users in self._survey.users.items():
            if len(users) > 1:
                self._problem(f"  {ip} has multiple owners.")
            if ip in self._survey.allocations:
                continue
            if survey.in_any(ip, active):
                inside += 1
                what = "and in active IPAM pool but has no IPAM allocation."
            else:
                outside += 1
                what = "is not in any active IP pool."
            for user in users:
                self._problem(f"  {ip} in use by {user} {what}")
        self._problems += outside + inside
        _say(f"Found {outside} in-use IPs that are not in active IP pools.")
        _say(
            f"Found {inside} in-use IPs that are in active IP pools but have no corresponding IPAM allocation.\n"
        )

    def _find_idle_handles(self, handles: dict[str, Handle]) -> list[Handle]:
        _say("Scanning for IPAM handles with no matching IPs...")
        idle = [found for name, found in handles.items() if name not in self._survey.handles]
        for each in idle:
            self._all(f"  {each.id} doesn't have any active IPs.")
        self._problems += len(idle)
        good = len(handles) - len(idle)
        _say(f"Found {len(idle)} handles with no matching IPs (and {good} handles with matches).")
        return idle

    def _find_missing_handles(self, handles: dict[str, Handle]) -> list[str]:
        """Told, but not counted as problems, as upstream."""
        _say("Scanning for IPs with missing handle...")
        missing = [name for name in self._survey.handles if name not in handles]
        for name in missing:
            self._problem(f"  {name} is in use in a block but doesn't exist.")
        _say(f"Found {len(missing)} handles mentioned in blocks with no matching handle resource.")
        return missing

    def _write_report(self, information: ClusterInformation, leaked: list[Handle]) -> None:
        spec = information.spec
        report = Report(
            version=CALICO_VERSION,
            cluster_guid=spec.cluster_guid,
            datastore_locked=spec.datastore_ready is False,
            revision=information.metadata.resource_version,
            cluster_type=spec.cluster_type,
            allocations=dict(sorted(self._survey.allocations.items())),
            leaked_handles=leaked or None,
        )
        try:
            with open(self._report_to, "w", encoding="utf-8") as file:  # noqa: PTH123 (pathlib takes 3 ms to load)
                file.write(output.json_text(report))
        except OSError as error:
            raise Failure(f"open {self._report_to}: {(error.strerror or str(error)).lower()}") from error


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _silent(_line: str) -> None:
    pass
