"""What is pure in the nftables dataplane: compiling, nets within nets, and groups that look at ports first."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycalico.calc.messages import PortRange, Rule
from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.drivers.nft import compiler, members
from pycalico.dataplane.rules.chain import target
from pycalico.dataplane.rules.context import RuleContext
from pycalico.dataplane.rules.group import PolicyGroup, port_keys, render_group
from pycalico.dataplane.rules.marks import allocate
from pycalico.dataplane.rules.policy import policy_chain_name

CONTEXT = RuleContext(DataplaneConfig(hostname="x"), allocate(0xFFFF0000, wireguard=False), 4, native=True)


@pytest.mark.parametrize(
    "text",
    ["--frobnicate", "-m set --match-set", "--jump LOG --log-prefix", "-m addrtype --src-type UNICAST"],
)
def test_what_is_not_of_the_language_is_refused(text):
    with pytest.raises(ValueError, match=r"not of the language|in the middle|LOCAL only|log-level"):
        compiler.compile_rule(4, "filter", text)


def test_an_identifier_does_not_depend_on_what_stands_before_and_fits_the_comment():
    text = '-m comment --comment "' + "x" * 250 + '" --jump DROP'
    compiled = compiler.compile_rule(4, "filter", text)
    assert len(compiled.comment) == 127
    assert compiled.comment.startswith(f"cali:{compiler.rule_id(text)}; x")


NETS = st.builds(
    lambda value, length: str(ipaddress.ip_network((value << 24, length), strict=False)).removesuffix("/32"),
    st.integers(0, 15),
    st.sampled_from((4, 6, 7, 8, 32)),
)


def _addresses(nets):
    """The probes that lie in any of the nets."""
    probes = [ipaddress.ip_address(value << 24) for value in range(16)]
    probes += [probe + 1 for probe in probes]
    return {str(probe) for probe in probes if any(probe in ipaddress.ip_network(net) for net in nets)}


@settings(deadline=None)
@given(st.lists(st.tuples(NETS, st.booleans()), max_size=30))
def test_elements_hold_what_the_members_hold_and_never_overlap(steps):
    cover, held, programmed = members.Cover(4), set(), set()
    cover.load(held)
    for net, comes in steps:
        if comes == (net in held):
            continue
        held = held | {net} if comes else held - {net}
        moves = cover.changes(held, {net} if comes else (), () if comes else {net})
        assert all((move not in programmed) == put for move, put in moves.items())
        programmed = (programmed | {m for m, put in moves.items() if put}) - {
            m for m, put in moves.items() if not put
        }
        assert _addresses(programmed) == _addresses(held)
        listed = [ipaddress.ip_network(net) for net in programmed]
        assert not any(one.overlaps(two) for one in listed for two in listed if one is not two)


@settings(deadline=None)
@given(st.sets(NETS, max_size=12))
def test_elements_are_read_back_as_members(nets):
    cover = members.Cover(4)
    cover.load(nets)
    top = cover.top(nets)
    seen = []
    for net in top:
        network = ipaddress.ip_network(net)
        behind = int(network.broadcast_address) + 1
        seen.append((network.network_address.packed, False, ""))
        if behind < 1 << 32:
            seen.append((behind.to_bytes(4, "big"), True, ""))
    # Neighbours may share a key: the end of one and the start of the next.
    assert members.parse(4, members.NET, seen) == top


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ([Rule("allow", protocol="tcp", dst_ports=(PortRange(80, 81),))], {("tcp", 80), ("tcp", 81)}),
        (
            [Rule("deny", protocol="udp", dst_ports=(PortRange(53, 53),), src_nets=("10.0.0.0/8",))],
            {("udp", 53)},
        ),
        ([Rule("allow", protocol="tcp")], None),
        ([Rule("allow", protocol="icmp")], None),
        ([Rule("allow", protocol=6, dst_ports=(PortRange(80, 80),))], None),
        ([Rule("allow", protocol="tcp", dst_ports=(PortRange(1, 1000),))], None),
        (
            [
                Rule(
                    "allow",
                    protocol="tcp",
                    dst_ports=(PortRange(80, 80),),
                    dst_named_port_ip_set_ids=("n:x",),
                )
            ],
            None,
        ),
        ([Rule("allow", protocol="tcp", not_dst_ports=(PortRange(80, 80),))], None),
        ([], set()),
    ],
)
def test_ports_without_which_no_rule_matches(rules, wanted):
    found = port_keys(rules)
    assert found == (None if wanted is None else frozenset(wanted))


KEYS = st.one_of(
    st.none(),
    st.frozensets(st.tuples(st.sampled_from(("tcp", "udp")), st.integers(1, 4)), max_size=3),
)


@settings(deadline=None)
@given(st.lists(KEYS, min_size=16, max_size=30))
def test_a_packet_meets_every_policy_that_may_concern_it_in_order(keys):
    names = tuple(f"p{number}" for number in range(len(keys)))
    group = PolicyGroup("default", True, "all()", names, "normal", tuple(keys))
    chains = {chain.name: chain for chain in render_group(CONTEXT, group)}
    policies = {policy_chain_name(True, name): name for name in names}

    def met(chain):
        return [policies[target(rule)] for rule in chains[chain].rules if target(rule) in policies]

    entries = {}
    for rule in chains.get(f"@{group.chain_name}", render_group(CONTEXT, group)[-1]).rules:
        words = rule.split(" ")
        if "--goto" in words:
            entries[words[1], int(words[-3])] = words[-1]
    for packet in [(protocol, port) for protocol in ("tcp", "udp") for port in range(6)]:
        wanted = [name for name, each in zip(names, keys, strict=True) if each is None or packet in each]
        seen = met(entries.get(packet, group.chain_name))
        assert [name for name in seen if name in wanted] == wanted
        if entries:
            assert seen == wanted
