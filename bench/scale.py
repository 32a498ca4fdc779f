"""Felix beside Felix on clusters of several sizes: ours with nftables, ours with iptables, upstream's where UPSTREAM_BIN has it.

A change's time is from its write to etcd until a packet feels it in the pod. BENCH_SCALE picks rows (small,middle,large).
"""

import os
import statistics
import time

from rich.console import Console
from rich.table import Table

from bench import cluster, felix_process, world

LOCAL = 200
ROWS = {"small": (5_000, 500), "middle": (50_000, 2_000), "large": (100_000, 10_000)}
CHANGES = int(os.environ.get("BENCH_CHANGES", "20"))
_IDLE_S = 12.0
_CALM_S = 3.0
_BETWEEN_S = 0.15


def main() -> None:
    if not world.inside("scale"):
        return
    wanted = os.environ.get("BENCH_SCALE", ",".join(ROWS)).split(",")
    kinds = os.environ.get("BENCH_FELIX", ";".join(felix_process.KINDS)).split(";")
    with world.Place() as place:
        for row in wanted:
            _row(place, row, kinds)


def _row(place, row, kinds):
    remote, policies = ROWS[row]
    table = Table(
        title=f"{LOCAL} local pods, {remote:,} remote, {policies:,} policies; {CHANGES} changes, median (p90)",
        title_justify="left", box=None, pad_edge=False,
    )  # fmt: skip
    headings = (
        "",
        "cold s",
        "CPU s",
        "peak RSS MiB",
        "member ms",
        "CPU ms",
        "policy ms",
        "CPU ms",
        "idle CPU %",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if not heading else "right")
    folder = place.directory / row
    folder.mkdir()
    with cluster.Etcd(folder) as etcd:
        etcd.put(*cluster.world(LOCAL, remote, policies))
        for kind in kinds:
            with felix_process.Node() as node, felix_process.Felix(kind, folder) as running:
                table.add_row(kind, *_measured(etcd, node, running, remote))
    console = Console(width=140)
    console.print()
    console.print(table)
    load = os.getloadavg()
    console.print(f"{os.cpu_count()} cores; load after: {load[0]:.2f} {load[1]:.2f}")


def _measured(etcd, node, running, remote):
    cold = (f"{running.cold_s:.2f}", f"{running.cold_cpu_s:.1f}", f"{running.rss_mib():.0f}")
    known = cluster.remote_address(256)
    if node.await_packet(known, 7001, time.perf_counter()) == float("inf"):
        raise SystemExit("bench: the members' policy does not let through what it should")
    time.sleep(_CALM_S)
    members = [_timed(etcd, node, running, number, *_member(remote, number)) for number in range(CHANGES)]
    policies = [_timed(etcd, node, running, number, *_policy(known, number)) for number in range(CHANGES)]
    time.sleep(_CALM_S)
    idle = f"{running.idle_share(_IDLE_S) * 100:.1f}"
    return (*cold, *_figures(members), *_figures(policies), idle)


def _member(remote, number):
    address = f"10.200.{number >> 8}.{number & 255}"
    labels = {"role": "role-0", "place": "remote"}
    return (
        cluster.endpoint(f"remote-{number % (remote // 100)}", f"new-{number}", address, labels),
        address,
        7001,
    )


def _policy(known, number):
    port = 8000 + number
    return cluster.policy(f"new-{number}", 0, [cluster.allow(port, "place == 'remote'", "UDP")]), known, port


def _timed(etcd, node, running, number, resource, address, port):
    """(seconds, CPU seconds) until the packet feels that the resource is there; it is taken away again."""
    before, began = running.cpu_s(), time.perf_counter()
    etcd.put(resource)
    took = node.await_packet(address, port, began)
    time.sleep(_BETWEEN_S)
    cpu = running.cpu_s() - before
    etcd.delete(resource)
    time.sleep(_BETWEEN_S + 0.013 * (number % 7))
    return took, cpu


def _figures(measured):
    took = sorted(one for one, _ in measured)
    cpu = statistics.median(two for _, two in measured)
    p90 = took[int(len(took) * 0.9)]
    return f"{statistics.median(took) * 1000:.1f} ({p90 * 1000:.0f})", f"{cpu * 1000:.0f}"
