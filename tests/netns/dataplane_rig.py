"""A dataplane in a private namespace of the test's own thread, and eyes on what it left in the kernel."""

import re
import subprocess
import threading
import time

from pycalico.calc.messages import (
    InSync,
    ProfileUpdate,
    Rule,
    WorkloadEndpointID,
    WorkloadEndpointUpdate,
)
from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.engine import Dataplane
from pycalico.kernel import netns

TABLES = ("raw", "mangle", "nat", "filter")


def sh(command, check=True):
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert not check or not done.returncode, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def save(table, backend="legacy", stem="iptables"):
    """Without counters, which any packet changes."""
    lines = sh(f"{stem}-{backend}-save -t {table}").splitlines()
    return [line.partition(" [")[0] if line[:1] == ":" else line for line in lines if line[:1] in ":-"]


def rules(table, backend="legacy", stem="iptables"):
    return [line for line in save(table, backend, stem) if line.startswith("-A")]


def count(table, backend="legacy"):
    return sum("cali" in line for line in save(table, backend))


def chain(table, name, backend="legacy"):
    return [line for line in rules(table, backend) if line.startswith(f"-A {name} ")]


def hashes(lines):
    return [re.search(r"cali:([\w-]+)", line).group(1) for line in lines]


def until(condition, seconds=8.0, what="condition"):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def veth(name, peer):
    sh(f"ip link add {name} type veth peer name {peer}; ip link set {name} up; ip link set {peer} up")


def host(address="192.168.10.101/24"):
    sh(f"ip link set lo up; ip link add eth0 type veth peer name up0; ip addr add {address} dev eth0")
    sh("ip link set eth0 up; ip link set up0 up")
    # The kernel takes up to a second to say so; a dataplane that starts before takes another MTU for the host's.
    until(lambda: "state UP" in sh("ip link show eth0"), what="the host's link")


class Rig:
    """Starts dataplanes in this thread's namespace; use inside ``netns.private()``."""

    def __init__(self, **settings):
        given = {
            "hostname": "k8s-w1",
            "ipv6": False,
            "iptables_backend": "legacy",
            "mtu_file": "",
            **settings,
        }
        self.config = DataplaneConfig(**given)
        self.statuses = {}
        self.error = None
        self.dataplane = None

    def start(self, *messages):
        self.dataplane = Dataplane(self.config, on_status=self._on_status)
        self.stop_event = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self.dataplane.put([*messages, InSync()])
        until(lambda: self.error or self.dataplane.status().started, 15, "start")
        if self.error:
            raise self.error
        return self

    def _run(self):
        try:
            self.dataplane.run(self.stop_event)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - shown by the test's thread
            self.error = error

    def _on_status(self, endpoint, value):
        self.statuses[endpoint] = value

    def put(self, *messages):
        self.dataplane.put(messages)

    def settle(self):
        """Two turns of the loop: the first may have begun before what the test just did."""
        for _ in range(2):
            before = self.dataplane.status().alive
            self.dataplane.put([InSync()])
            until(lambda before=before: self.error or self.dataplane.status().alive > before, what="a turn")
        until(lambda: self.error or self.dataplane.status().in_sync, what="in sync")
        if self.error:
            raise self.error

    def resync(self):
        for stage in self.dataplane.assembly.stages:
            for reconciler in stage.reconcilers:
                reconciler.resync()
        self.settle()

    def inputs(self):
        """iptables-restore inputs so far."""
        return sum(table.target.inputs for table in self.dataplane.assembly.tables)

    def stop(self):
        self.stop_event.set()
        self.dataplane.put([])
        self.thread.join(10)
        assert not self.thread.is_alive()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.dataplane and self.thread.is_alive():
            self.stop()


ALLOW = (Rule("allow"),)
PROFILES = (ProfileUpdate("kns.default", ALLOW, ALLOW), ProfileUpdate("ksa.default.default", (), ()))


def workload(pod, interface, *nets, profiles=("kns.default", "ksa.default.default"), **more):
    return WorkloadEndpointUpdate(
        WorkloadEndpointID("k8s", f"default/{pod}", "eth0"),
        interface,
        mac="ee:ee:ee:ee:ee:ee",
        profiles=profiles,
        ipv4_nets=tuple(net for net in nets if ":" not in net),
        ipv6_nets=tuple(net for net in nets if ":" in net),
        **more,
    )


namespace = netns.private
