"""Lines of ``conntrack --dump`` read, and what policy says of what they tell."""

import pytest

from pycalico.calc.messages import (
    IPSetDelta,
    IPSetType,
    IPSetUpdate,
    PolicyID,
    PolicyLists,
    PolicyUpdate,
    PortRange,
    ProfileUpdate,
    Rule,
    WorkloadEndpointID,
    WorkloadEndpointUpdate,
)
from pycalico.dataplane.drivers.connections import Connection, parse
from pycalico.dataplane.managers.verdicts import Verdicts
from pycalico.kernel.interfaces import Interfaces

_DIRECT = (
    "tcp      6 431999 ESTABLISHED src=172.16.0.10 dst=172.16.0.11 sport=40000 dport=80 "
    "src=172.16.0.11 dst=172.16.0.10 sport=80 dport=40000 [ASSURED] mark=0 use=1"
)
_TRANSLATED = (
    "tcp      6 60 SYN_SENT src=172.16.0.10 dst=10.96.0.1 sport=40000 dport=443 [UNREPLIED] "
    "src=172.16.0.11 dst=172.16.0.10 sport=8443 dport=40000 mark=0 use=1"
)
_ICMP = "icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=77 src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=77 use=1"
_OTHER = "unknown  47 599 src=fd00::1 dst=fd00::2 src=fd00::2 dst=fd00::1 mark=0 use=1"
_ZONED = _DIRECT.replace("mark=0", "zone=3 mark=0")


def test_lines_are_read():
    assert parse(4, _DIRECT) == Connection(
        4, 6, "172.16.0.10", "172.16.0.11", (40000, 80), None, "172.16.0.11", 80
    )
    assert parse(4, _TRANSLATED) == Connection(
        4, 6, "172.16.0.10", "10.96.0.1", (40000, 443), None, "172.16.0.11", 8443
    )
    assert parse(4, _ICMP) == Connection(4, 1, "10.0.0.1", "10.0.0.2", None, (8, 0, 77), "10.0.0.2", 0)
    assert parse(6, _OTHER) == Connection(6, 47, "fd00::1", "fd00::2", None, None, "fd00::2", 0)


@pytest.mark.parametrize(
    "line", [_ZONED, "", "conntrack v1.4.7 (conntrack-tools): 3 flow entries", "tcp 6 1 src="]
)
def test_others_lines_are_left_out(line):
    assert parse(4, line) is None


def _told(*rules, inbound=True, sets=(), policies=True):
    """Pod b (172.16.0.11) with one policy of these rules, else with a profile of them."""
    verdicts = Verdicts(Interfaces())
    name = "default/default.p"
    lists = PolicyLists("default", **{"ingress" if inbound else "egress": (name,)})
    pod = WorkloadEndpointUpdate(
        WorkloadEndpointID("k8s", "default/b", "eth0"), "calib", profiles=("prof",),
        ipv4_nets=("172.16.0.11/32",), ipv6_nets=("fd00::11/128",), tiers=(lists,) if policies else (),
    )  # fmt: skip
    both = (rules, ()) if inbound else ((), rules)
    messages = [
        *sets,
        PolicyUpdate(PolicyID("default", name), *both, "all()"),
        ProfileUpdate("prof", *(both if not policies else ((Rule("allow"),), (Rule("allow"),)))),
        pod,
    ]
    for message in messages:
        verdicts.handlers[type(message)](message)
    assert verdicts.settle()
    return verdicts


_IN = Connection(4, 6, "172.16.0.10", "10.96.0.1", (40000, 443), None, "172.16.0.11", 8443)
_PING = Connection(6, 58, "fd00::10", "fd00::11", None, (128, 0, 5), "fd00::11", 0)
_NET = IPSetUpdate("s:x", IPSetType.NET, frozenset({"172.16.0.0/28", "fd00::/64"}))
_NAMED = IPSetUpdate("n:x", IPSetType.IP_AND_PORT, frozenset({"172.16.0.11,tcp:8443"}))


@pytest.mark.parametrize(
    ("rules", "connection", "allowed"),
    [
        ((), _IN, False),
        ((Rule("allow"),), _IN, True),
        ((Rule("deny"), Rule("allow")), _IN, False),
        ((Rule("log"),), _IN, False),
        ((Rule("pass"),), _IN, True),
        ((Rule("allow", protocol="tcp", dst_ports=(PortRange(8000, 8500),)),), _IN, True),
        ((Rule("allow", protocol="tcp", dst_ports=(PortRange(443, 443),)),), _IN, False),
        ((Rule("allow", protocol="tcp", not_dst_ports=(PortRange(443, 443),)),), _IN, True),
        ((Rule("allow", protocol="udp"),), _IN, False),
        ((Rule("allow", not_protocol=17),), _IN, True),
        ((Rule("allow", not_protocol="tcp"),), _IN, False),
        ((Rule("allow", src_nets=("172.16.0.0/24",)),), _IN, True),
        ((Rule("allow", src_nets=("10.0.0.0/8",)),), _IN, False),
        ((Rule("allow", src_nets=("fd00::/64",)),), _IN, False),
        ((Rule("allow", not_src_nets=("172.16.0.0/24",)),), _IN, False),
        ((Rule("allow", dst_nets=("10.96.0.1/32",)),), _IN, False),
        ((Rule("allow", src_ip_set_ids=("s:x",)),), _IN, True),
        ((Rule("allow", not_src_ip_set_ids=("s:x",)),), _IN, False),
        ((Rule("allow", protocol="tcp", dst_named_port_ip_set_ids=("n:x",)),), _IN, True),
        ((Rule("allow", protocol="tcp", not_dst_named_port_ip_set_ids=("n:x",)),), _IN, False),
        ((Rule("allow", dst_ip_port_set_ids=("n:x",)),), _IN, True),
        ((Rule("allow", ip_version=6),), _IN, False),
        ((Rule("allow", protocol="icmpv6", icmp_type=128),), _PING, True),
        ((Rule("allow", protocol="icmpv6", icmp_type=129),), _PING, False),
        ((Rule("allow", protocol="icmpv6", not_icmp_type=128),), _PING, False),
        ((Rule("allow", src_ip_set_ids=("s:x",)),), _PING, True),
        # What is not known yet cuts nothing.
        ((Rule("allow", src_ip_set_ids=("s:unknown",)),), _IN, True),
    ],
)
def test_policy_speaks(rules, connection, allowed):
    assert _told(*rules, sets=(_NET, _NAMED)).allows(connection) is allowed
    if rules != (Rule("pass"),):
        assert _told(*rules, sets=(_NET, _NAMED), policies=False).allows(connection) is allowed


def test_each_direction_is_its_own():
    outward = Connection(4, 6, "172.16.0.11", "9.9.9.9", (40000, 80), None, "9.9.9.9", 80)
    assert not _told(inbound=False).allows(outward)
    assert _told(inbound=True).allows(outward)
    assert _told(inbound=True).allows(Connection(4, 6, "9.9.9.8", "9.9.9.9", None, None, "9.9.9.9", 0))


def test_a_change_concerns_those_that_it_may_concern():
    verdicts = _told(Rule("allow", src_ip_set_ids=("s:x",)), sets=(_NET, _NAMED))
    assert verdicts.take_concerned() == {"172.16.0.11", "fd00::11"}
    assert not verdicts.settle()
    gone = IPSetDelta("n:x", frozenset(), frozenset({"172.16.0.11,tcp:8443"}))
    verdicts.handlers[IPSetDelta](gone)
    assert not verdicts.settle()
    gone = IPSetDelta("s:x", frozenset(), frozenset({"172.16.0.0/28"}))
    verdicts.handlers[IPSetDelta](gone)
    assert verdicts.settle()
    assert verdicts.take_concerned() == {"172.16.0.11", "fd00::11"}
    assert not verdicts.allows(_IN)
