"""What a node may throw at the dataplane: doubled addresses, lost notices, texts of any kind, missing parts."""

import errno
import re
import time

import dataplane_rig as rig
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pycalico.calc.messages import (
    IPSetType,
    IPSetUpdate,
    PolicyID,
    PolicyLists,
    PolicyUpdate,
    Rule,
    VTEPUpdate,
    WorkloadEndpointRemove,
)
from pycalico.dataplane import assembly
from pycalico.kernel import ipsetchange, ipsetdump, rtnetlink, wireguard

pytestmark = pytest.mark.netns
ONE, TWO = "cali11111111111", "cali22222222222"


@pytest.fixture(autouse=True)
def host():
    with rig.namespace():
        rig.host()
        yield


def _route(address="172.16.0.10"):
    return rig.sh(f"ip route show {address}")


def test_two_endpoints_with_one_address_have_one_winner_and_it_heals():
    rig.veth(ONE, "p1")
    rig.veth(TWO, "p2")
    first, second = (rig.workload(n, i, "172.16.0.10/32") for n, i in (("a", ONE), ("b", TWO)))
    winners = []
    for order in ((first, second), (second, first)):
        with rig.Rig().start(*rig.PROFILES, *order) as felix:
            felix.settle()
            rig.until(_route, what="a route")
            winners.append(ONE if ONE in _route() else TWO)
            gone = first if winners[-1] == ONE else second
            felix.put(WorkloadEndpointRemove(gone.id))
            other = TWO if winners[-1] == ONE else ONE
            rig.until(lambda other=other: other in _route(), what="the other's route")
            felix.put(gone)
            rig.until(lambda: winners[-1] in _route(), what="the winner's route again")
    assert winners[0] == winners[1]


def test_dropped_notices_are_made_up_for(monkeypatch):
    """The kernel's ENOBUFS cannot be had at will: the socket says so once while a link comes."""
    from pycalico.kernel import ifmonitor

    rig.veth(ONE, "p1")
    lost = []

    class Lossy:
        def __init__(self, real):
            self._real = real

        def recv(self, size):
            if lost == ["armed"]:
                lost.append("lost")
                self._real.recv(size)
                raise OSError(errno.ENOBUFS, "No buffer space available")
            return self._real.recv(size)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._real.close()

        def __getattr__(self, name):
            return getattr(self._real, name)

    real_socket = ifmonitor.socket.socket

    def socket(*arguments):
        return Lossy(real_socket(*arguments))

    monkeypatch.setattr(ifmonitor.socket, "socket", socket)
    pods = [rig.workload("a", ONE, "172.16.0.10/32"), rig.workload("b", TWO, "172.16.0.11/32")]
    with rig.Rig().start(*rig.PROFILES, *pods) as felix:
        felix.settle()
        lost.append("armed")
        rig.veth(TWO, "p2")
        rig.until(lambda: _route("172.16.0.11"), what="the missed link's route")
        assert lost == ["armed", "lost"]


def test_no_ipv6_in_the_kernel_is_one_line_and_ipv4_goes_on(monkeypatch, caplog):
    real = assembly.os.path.exists
    monkeypatch.setattr(assembly.os.path, "exists", lambda path: "ipv6" not in str(path) and real(path))
    rig.veth(ONE, "p1")
    with rig.Rig(ipv6=True).start(*rig.PROFILES, rig.workload("a", ONE, "172.16.0.10/32")) as felix:
        felix.settle()
        assert rig.rules("filter")
        assert not rig.rules("filter", stem="ip6tables")
    lines = [record for record in caplog.records if "IPv6" in record.getMessage()]
    assert len(lines) == 1


@pytest.mark.parametrize("lacking", ["ipip", "vxlan", "wireguard", "conntrack"])
def test_what_the_kernel_lacks_is_one_line_and_the_rest_works(lacking, monkeypatch, caplog, tmp_path):
    """The module is masked where this kernel has it."""
    real = rtnetlink.add_link

    def add_link(**wanted):
        if wanted["kind"] == lacking:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        real(**wanted)

    monkeypatch.setattr(rtnetlink, "add_link", add_link)
    monkeypatch.setattr(wireguard, "_PROGRAM", "no-program-for-it")
    for program, text in (
        (
            "ip",
            'case "$*" in *ipip*) echo "add tunnel failed: No such device" >&2; exit 2;; esac\nexec REAL "$@"',
        ),
        ("conntrack", 'echo "conntrack v1.4.7: Operation failed: not supported" >&2; exit 1'),
    ):
        shim = tmp_path / program
        shim.write_text("#!/bin/sh\n" + text.replace("REAL", rig.sh(f"command -v {program}").strip()) + "\n")
        shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{rig.sh('echo $PATH').strip()}")
    rig.veth(ONE, "p1")
    rig.veth(TWO, "p2")
    on = {
        "ipip": {"ipip": True, "ipip_tunnel_address": "172.16.34.0"},
        "vxlan": {"vxlan": True, "vxlan_tunnel_address": "172.16.34.0"},
        "wireguard": {"wireguard": True},
        "conntrack": {},
    }
    own = VTEPUpdate("k8s-w1", "66:74:91:32:7c:04", "172.16.34.0", "192.168.10.101")
    pods = [rig.workload("a", ONE, "172.16.0.10/32"), rig.workload("b", TWO, "172.16.0.11/32")]
    caplog.set_level("WARNING")
    with rig.Rig(**on[lacking]).start(*rig.PROFILES, own, *pods) as felix:
        rig.until(lambda: _route("172.16.0.10") and _route("172.16.0.11"), what="routes of the pods")
        assert rig.chain("filter", f"cali-tw-{ONE}")
        for pod in pods:
            felix.put(WorkloadEndpointRemove(pod.id))
        rig.until(lambda: not _route("172.16.0.10") and not _route("172.16.0.11"), what="their removal")
        felix.settle()
        time.sleep(1.2)  # long enough for several tries
        status = felix.dataplane.status()
    word = {"ipip": "tunl0", "vxlan": "vxlan.calico", "wireguard": "WireGuard", "conntrack": "connections"}
    lines = [record.getMessage() for record in caplog.records if word[lacking] in record.getMessage()]
    assert len(lines) == 1, lines
    assert "\n" not in lines[0]
    if lacking in {"ipip", "vxlan"}:
        assert [failure.key for failure in status.failures] == [word[lacking]]
    if lacking == "wireguard":
        reason = "the kernel lacks it (Operation not supported), and no-program-for-it is not installed"
        assert status.note == f"WireGuard is off: {reason}"


@pytest.mark.parametrize("variant", ["legacy", "nft"])
def test_a_packet_shows_whether_the_rules_judge_any(variant, caplog):
    """A rule before ours that takes everything is what nothing else would show."""
    settings = {"iptables_backend": variant, "chain_insert_mode": "append", "ipv6": True}
    with rig.Rig(**settings).start(*rig.PROFILES) as felix:
        assert felix.dataplane.status().note == ""
    # Begins anew with another's rule in front.
    rig.sh(f"iptables-{variant} -t raw -I OUTPUT -o lo -j ACCEPT")
    with rig.Rig(**settings).start(*rig.PROFILES) as felix:
        rig.until(lambda: felix.dataplane.status().note, what="the complaint")
        assert f"do not reach the rules in iptables' {variant} tables" in felix.dataplane.status().note
    told = [record for record in caplog.records if "do not reach" in record.getMessage()]
    assert len(told) == 1
    # Put first, ours see them again.
    with rig.Rig(**{**settings, "chain_insert_mode": "insert"}).start(*rig.PROFILES) as felix:
        felix.settle()
        assert felix.dataplane.status().note == ""


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.text(max_size=40),
    value=st.one_of(st.text(max_size=300), st.just("x\n-A FORWARD -j ACCEPT\n" * 500)),
)
def test_metadata_of_any_kind_stays_a_comment(key, value):
    identity = PolicyID("default", "default/default.p")
    rules = (Rule("allow", protocol="tcp", annotations=((key, value),)), Rule("deny"))
    tiers = (PolicyLists("default", ingress=(identity.name,)),)
    pod = rig.workload("a", ONE, "172.16.0.10/32", tiers=tiers)
    if not rig.sh(f"ip link show {ONE} 2>/dev/null", check=False):
        rig.veth(ONE, "p1")
    with rig.Rig().start(*rig.PROFILES, PolicyUpdate(identity, rules, (), "all()"), pod) as felix:
        felix.settle()
        assert not felix.dataplane.status().failures
        chain = rig.chain("filter", "cali-pi-default/default.p")
        assert len(chain) == 3
        assert chain[-1].endswith("-j DROP")
        before = felix.inputs()
        felix.resync()
        # What iptables gives back is known again as what was written.
        assert felix.inputs() == before
        assert "-A FORWARD -j ACCEPT" not in rig.rules("filter")


def test_a_fingerprint_changes_with_every_change_of_our_sets_alone():
    ours = re.compile("^cali4").match
    rig.sh("ipset create cali40a hash:net; ipset create other hash:ip")
    seen = [ipsetdump.fingerprint(ours)]
    assert seen[0]
    rig.sh("ipset add other 9.9.9.9")
    assert ipsetdump.fingerprint(ours) == seen[0]
    for command in (
        "ipset add cali40a 10.0.0.1",
        "ipset del cali40a 10.0.0.1; ipset add cali40a 10.0.0.2",
        "ipset create cali40b hash:ip",
        "ipset destroy cali40b; ipset create cali40b hash:net",
    ):
        rig.sh(command)
        seen.append(ipsetdump.fingerprint(ours))
    assert len(set(seen)) == len(seen)
    assert all(seen)


@pytest.mark.parametrize(
    ("family", "kind", "members"),
    [
        (4, "hash:net family inet", ["10.0.0.0/8", "10.1.2.3", "0.0.0.0/1"]),
        (6, "hash:net family inet6", ["fd00::/64", "fd00::1"]),
        (4, "hash:ip family inet", ["10.1.2.3"]),
        (4, "hash:ip,port family inet", ["10.1.2.3,tcp:80", "10.1.2.3,udp:53", "10.1.2.3,sctp:65535"]),
        (6, "hash:ip,port family inet6", ["fd00::1,tcp:80"]),
    ],
)
def test_members_come_and_go_without_a_program(family, kind, members):
    def there():
        return {line.split()[2] for line in rig.sh("ipset save").splitlines() if line.startswith("add")}

    rig.sh(f"ipset create x {kind}")
    for _ in range(2):  # what is there already is well
        assert ipsetchange.change(family, [("add", "x", member) for member in members])
        assert there() == set(members)
    for _ in range(2):
        assert ipsetchange.change(family, [("del", "x", member) for member in members])
        assert there() == set()
    assert not ipsetchange.change(family, [("add", "x", members[0]), ("add", "absent", members[0])])
    assert there() == {members[0]}


def test_a_set_of_100000_members_and_its_change():
    identity = PolicyID("default", "default/default.p")
    rig.veth(ONE, "p1")
    members = frozenset(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(100_000))
    policy = PolicyUpdate(identity, (Rule("allow", src_ip_set_ids=("s:big",)),), (), "all()")
    tiers = (PolicyLists("default", ingress=(identity.name,)),)
    pod = rig.workload("a", ONE, "172.16.0.10/32", tiers=tiers)
    with rig.Rig().start(*rig.PROFILES, IPSetUpdate("s:big", IPSetType.NET, members), policy, pod) as felix:
        felix.settle()
        header = rig.sh("ipset list cali40s:big -terse")
        assert "maxelem 1048576" in header
        assert "Number of entries: 100000" in header
        began = time.monotonic()
        felix.put(IPSetUpdate("s:big", IPSetType.NET, members | {"11.0.0.1"}))
        rig.until(
            lambda: "is in set" in rig.sh("ipset test cali40s:big 11.0.0.1 2>&1", check=False), what="it"
        )
        assert time.monotonic() - began < 2.0
