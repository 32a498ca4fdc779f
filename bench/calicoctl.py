"""Whole commands of calicoctl, small ones and over 2,000 objects, ours and upstream's in turn."""

import json
from pathlib import Path

from bench import timing, world

RUNS = 15
NODES = 2000
COMMANDS = {
    "version": ["version"],
    "get ippool -o wide": ["get", "ippool", "-o", "wide"],
    f"get nodes, {NODES}": ["get", "nodes"],
    f"get nodes -o yaml, {NODES}": ["get", "nodes", "-o", "yaml"],
    "ipam show --show-blocks": ["ipam", "show", "--show-blocks"],
}


def main() -> None:
    if not world.inside("calicoctl"):
        return
    programs = {"ours": world.PROGRAMS / "calicoctl"}
    if world.UPSTREAM and (Path(world.UPSTREAM) / "calicoctl").exists():
        programs["upstream"] = Path(world.UPSTREAM) / "calicoctl"
    with world.World() as there:
        there.cluster()
        for number in range(NODES):
            address = f"10.{number >> 8}.{number & 255}.1/24"
            notes = {"projectcalico.org/IPv4Address": address, "note": json.dumps({"number": number})}
            meta = {"name": f"n{number}", "labels": {"rack": f"r{number % 40}"}, "annotations": notes}
            there.ask("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": meta})
        took = {(who, what): timing.Series() for who in programs for what in COMMANDS}
        for run in range(-1, RUNS):
            for what, arguments in COMMANDS.items():
                for who, program in programs.items():
                    series = took[who, what] if run >= 0 else timing.Series()
                    series.run([program, *arguments], env=there.environ)
        timing.show(
            f"calicoctl, {RUNS} runs each, Kubernetes datastore: median (p90)",
            [(what, took["ours", what], took.get(("upstream", what))) for what in COMMANDS],
        )
