"""IPAM alone, on a real etcd: writers against each other, one node's rate through the agent, and a large report."""

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from bench import etcd, timing, world
from pycalico import __version__
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.clusterinformation import ClusterInformation, ClusterInformationSpec
from pycalico.api.v3.ipam import IPAMBlock
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.node import Node
from pycalico.cni.agent import protocol
from pycalico.datastore.open import open_client
from pycalico.ipam.allocator import Allocator

WRITERS_S = float(os.environ.get("BENCH_WRITERS_SECONDS", "60"))
CALLERS, CALLS = 32, 3000
BLOCKS, RUNS = 256, 15


def main() -> None:
    if not world.inside("ipam"):
        return
    os.environ.update(etcd.ENVIRON)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "bench", "/run"], check=True)
    with etcd.Etcd():
        _writers()
    with etcd.Etcd():
        _rate()
    with etcd.Etcd():
        _report()


def _writers() -> None:
    print("\nIPAM, writers at random on etcd", flush=True)
    command = [sys.executable, "-m", "bench.writers", "--seconds", str(WRITERS_S)]
    subprocess.run(command, check=False)


def _cluster():
    client = open_client(environ=dict(os.environ))
    ready = ClusterInformationSpec(datastore_ready=True)
    client.create(ClusterInformation(metadata=ObjectMeta(name="default"), spec=ready))
    client.create(Node(metadata=ObjectMeta(name="bench")))
    spec = IPPoolSpec(cidr="10.0.0.0/16", block_size=24, node_selector="all()")
    client.create(IPPool(metadata=ObjectMeta(name="p"), spec=spec))
    return client


def _rate() -> None:
    """Callers that are always at it, over the agent's socket, without the processes that a runtime would start."""
    client = _cluster()
    agent = subprocess.Popen([world.PROGRAMS / "calico-cni-agent"], stderr=subprocess.DEVNULL)
    try:
        while not Path(protocol.SOCKET).exists():
            time.sleep(0.02)
        _call("ADD", "warm-up")
        took = {}
        for verb in ("ADD", "DEL"):
            numbers, took[verb] = iter(range(CALLS)), []
            began = time.monotonic()
            threads = [
                threading.Thread(target=_caller, args=(verb, numbers, took[verb])) for _ in range(CALLERS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            seconds = time.monotonic() - began
            ordered = sorted(took[verb])
            print(
                f"IPAM {verb} through the agent, {CALLERS} callers: {CALLS / seconds:.0f}/s, "
                f"median {statistics.median(ordered) * 1000:.1f} ms, p99 {ordered[int(CALLS * 0.99)] * 1000:.1f} ms",
                flush=True,
            )
            used = sum(
                index is not None
                for block in client.list(IPAMBlock).items
                for index in block.spec.allocations
            )
            if used != (CALLS + 1 if verb == "ADD" else 1):
                sys.exit(f"bench: {used} addresses in use after {CALLS} {verb}s")
    finally:
        agent.terminate()
        agent.wait(10)


def _caller(verb, numbers, took):
    while True:
        try:
            number = next(numbers)
        except StopIteration:
            return
        began = time.perf_counter()
        refusal = _call(verb, f"c{number}")
        took.append(time.perf_counter() - began)
        if refusal:
            print(f"bench: the agent refused: {refusal[:300]!r}", file=sys.stderr)
            return


def _call(verb, container):
    config = {
        "name": "net", "cniVersion": "0.3.1", "type": "calico", "datastore_type": "etcdv3",
        "etcd_endpoints": etcd.URL, "nodename": "bench", "nodename_file_optional": True,
        "ipam": {"type": "calico-ipam"},
    }  # fmt: skip
    given = json.dumps(config).encode()
    environ = {
        "CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_NETNS": "/proc/self/ns/net", "CNI_IFNAME": "eth0",
        "CNI_PATH": "/opt/cni/bin",
    }  # fmt: skip
    variables = b"".join(f"{name}={value}\0".encode() for name, value in environ.items())
    head = f"cni 1 {__version__} calico-ipam {len(variables)} {len(given)}\n".encode()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.connect(protocol.SOCKET)
        connection.sendall(head + variables + given)
        answer = b""
        while more := connection.recv(1 << 16):
            answer += more
    return b"" if answer.startswith(b"0 ") else answer


def _report() -> None:
    client = _cluster()
    ipam = Allocator(client)
    for number in range(BLOCKS):
        host = f"node-{number}"
        client.create(Node(metadata=ObjectMeta(name=host)))
        ipam.auto_assign(256, 0, f"net.{number}", {"node": host}, host)
    programs = {"ours": world.PROGRAMS / "calicoctl"}
    if world.UPSTREAM and (Path(world.UPSTREAM) / "calicoctl").exists():
        programs["upstream"] = Path(world.UPSTREAM) / "calicoctl"
    commands = {"ipam show": ["ipam", "show"], "ipam show --show-blocks": ["ipam", "show", "--show-blocks"]}
    took = {(who, what): timing.Series() for who in programs for what in commands}
    for run in range(-1, RUNS):
        for what, arguments in commands.items():
            for who, program in programs.items():
                series = took[who, what] if run >= 0 else timing.Series()
                done = series.run([program, *arguments], env=dict(os.environ))
                assert b"65536" in done.stdout
    timing.show(
        f"{BLOCKS * 256} addresses in {BLOCKS} blocks, {RUNS} runs each: median (p90)",
        [(what, took["ours", what], took.get(("upstream", what))) for what in commands],
    )
