"""Packets that must not be fragmented, over a path that carries less than its ends say."""

import itertools
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.netns
_SERIAL = itertools.count()
PROBE = "import sys; from pycalico.node import pathprobe; print(pathprobe.largest(sys.argv[1], int(sys.argv[2]), 1500))"


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def ends():
    """Two namespaces and a router that says nothing of packets too large."""
    names = [f"pm{os.getpid() % 100000}x{next(_SERIAL)}{end}" for end in "arb"]
    try:
        for name in names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
            # Link-local addresses count at once, too.
            run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        a, router, b = names
        for number, name in ((1, a), (2, b)):
            run(
                "ip",
                "-n",
                router,
                "link",
                "add",
                f"to{number}",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                name,
            )
            for place, link, host in ((router, f"to{number}", 254), (name, "eth0", 1)):
                run("ip", "-n", place, "addr", "add", f"10.95.{number}.{host}/24", "dev", link)
                run("ip", "-n", place, "addr", "add", f"fd95:{number}::{host:x}/64", "dev", link, "nodad")
                run("ip", "-n", place, "link", "set", link, "up")
            run("ip", "-n", name, "route", "add", "default", "via", f"10.95.{number}.254")
            run("ip", "-n", name, "route", "add", "default", "via", f"fd95:{number}::fe")
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            run("ip", "netns", "exec", router, "sysctl", "-qw", f"{key}=1")
        yield a, router
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def probed(place, address, family):
    return run("ip", "netns", "exec", place, sys.executable, "-c", PROBE, address, str(family)).strip()


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize(("family", "address"), [(4, "10.95.2.1"), (6, "fd95:2::1")])
def test_the_size_that_arrives_is_found_to_the_byte(ends, family, address, silent):
    a, router = ends
    assert probed(a, address, family) == "1500"
    run("ip", "-n", router, "link", "set", "to2", "mtu", "1387")
    if silent:
        program = "iptables" if family == 4 else "ip6tables"
        kind = ("icmp", "--icmp-type", "3/4") if family == 4 else ("icmpv6", "--icmpv6-type", "2")
        run("ip", "netns", "exec", router, program, "-A", "OUTPUT", "-p", kind[0], *kind[1:], "-j", "DROP")
    assert probed(a, address, family) == "1387"


def test_nobody_there(ends):
    assert probed(ends[0], "10.95.2.77", 4) == "None"
