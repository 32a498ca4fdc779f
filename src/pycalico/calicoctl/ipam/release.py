"""``calicoctl ipam release``: one address, or what reports show as leaked."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pycalico import CALICO_VERSION
from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.api.v3.ipam import IPAMHandle
from pycalico.calicoctl import connection
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.ipam import address, report
from pycalico.calicoctl.ipam.report import Handle, Report
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.client import Client
from pycalico.datastore.errors import Conflict, DatastoreError, NotFound
from pycalico.datastore.typed import TypedClient
from pycalico.ipam.allocator import Allocator
from pycalico.ipam.block import Release
from pycalico.ipam.errors import IPAMError


def run(arguments: Arguments) -> None:
    """Raises Failure."""
    client = connection.checked(arguments)
    files = arguments.lists["--from-report"]
    if files:
        try:
            _from_reports(client, files, force="--force" in arguments.switches)
        except DatastoreError as error:
            raise Failure(error) from error
        print("You may now unlock the data store.")
    elif "--ip" in arguments.texts:
        _one(client.driver, address.parsed(arguments.texts["--ip"]))


def _one(driver: Client, ip: str) -> None:
    try:
        free = Allocator(driver).release_ips([Release(ip)])
    except (DatastoreError, IPAMError) as error:
        raise Failure(f"Error: {error}") from error
    if free:
        raise Failure(f"IP address {ip} is not assigned")
    print(f"Successfully released IP address {ip}")


def _from_reports(client: TypedClient, files: Sequence[str], *, force: bool) -> None:
    information = client.get(ClusterInformation, "default")
    reports = [_checked(path, information, force=force) for path in files]
    if not any(each.revision == information.metadata.resource_version for each in reports):
        raise Failure(
            "The provided reports are all stale - at least one should be up-to-date. "
            "Please generate a new report while the data store is locked and try again."
        )
    if information.spec.datastore_ready is not False:
        if not force:
            raise Failure("Data store is not locked. Either lock the data store, or re-run with --force.")
        print("WARNING: Data store is not locked. Ignoring due to --force option")
    releases, handles = merged(reports)
    if releases:
        _release(client.driver, releases)
    else:
        print("Report didn't contain any leaked IPs to clean up.")
    if handles:
        _delete(client.driver, handles)
    else:
        print("Report didn't contain any handles to clean up.")


def _checked(path: str, information: ClusterInformation, *, force: bool) -> Report:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (pathlib takes 3 ms to load)
            found = report.decode(file.read())
    except OSError as error:
        what = "read" if isinstance(error, IsADirectoryError) else "open"
        raise Failure(f"{what} {path}: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise Failure(error) from error
    if found.cluster_guid != information.spec.cluster_guid:
        raise Failure(
            f"Cluster does not match the provided report ({path}): mismatched cluster GUID. Refusing to release."
        )
    if found.version != CALICO_VERSION:
        if not force:
            raise Failure(
                f"The provided report ({path}) was produced using a different version ({found.version}) "
                "of calicoctl. Refusing to release."
            )
        print(
            "WARNING: Report was produced using a different version of calicoctl. Ignoring due to --force option"
        )
    return found


def merged(reports: Sequence[Report]) -> tuple[list[Release], list[Handle]]:
    """What leaked according to all of them: addresses, and handles that did not change in between."""
    releases: dict[str, Release] | None = None
    handles: dict[str, Handle] | None = None
    for each in reports:
        now = {
            found.ip: Release(found.ip, found.handle or None, found.sequence_number)
            for items in each.allocations.values()
            for found in items
            if not found.in_use
        }
        releases = now if releases is None else {ip: now[ip] for ip in now if ip in releases}
        idle = {found.id: found for found in each.leaked_handles or ()}
        handles = (
            idle
            if handles is None
            else {
                name: found
                for name, found in idle.items()
                if name in handles and handles[name].revision == found.revision
            }
        )
    return list((releases or {}).values()), list((handles or {}).values())


def _release(driver: Client, releases: Sequence[Release]) -> None:
    print(f"Releasing {len(releases)} old IPs...")
    try:
        free = Allocator(driver).release_ips(releases)
    except (DatastoreError, IPAMError) as error:
        print(
            f"An error occurred while releasing some IPs: {error}.  Problems are often caused by an "
            "out-of-date IPAM report.  Try regenerating the IPAM report and retry."
        )
        return
    print(f"Released {len(releases) - len(free)} IPs successfully")
    if free:
        print(f"{len(free)} addresses marked as leaked in the report had already been cleaned up.")


def _delete(driver: Client, handles: Sequence[Handle]) -> None:
    print(f"Deleting {len(handles)} handles...")
    print("Key: '.' = Deleted OK; 'x' = skip, handle missing/changed.")
    released = skipped = failed = 0
    for each in handles:
        try:
            driver.delete(IPAMHandle, each.id, revision=each.revision, uid=each.uid or "")
        except (Conflict, NotFound):
            skipped += 1
            sys.stdout.write("x")
        except DatastoreError as error:
            failed += 1
            print(f"\nDeleting handle {each.id} failed: {error}.")
        else:
            released += 1
            sys.stdout.write(".")
    print(f"\nReleased {released} handles; {skipped} skipped; {failed} errors.")
