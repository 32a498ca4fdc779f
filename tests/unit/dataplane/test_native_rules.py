"""What is pure in the nftables dataplane: compiling, nets within nets, and groups that are cut by ports and peers."""

import ipaddress
import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycalico.calc.messages import PortRange, Rule
from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.drivers.nft import compiler, members
from pycalico.dataplane.rules import units
from pycalico.dataplane.rules.context import RuleContext
from pycalico.dataplane.rules.group import PolicyGroup
from pycalico.dataplane.rules.group_native import render_native_group
from pycalico.dataplane.rules.marks import allocate

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


TCP = {"protocol": "tcp", "dst_ports": (PortRange(80, 81),)}


@pytest.mark.parametrize(
    ("rule", "needs_ports"),
    [
        (Rule("allow", **TCP), True),
        (Rule("deny", src_nets=("10.0.0.0/8",), protocol="udp", dst_ports=(PortRange(53, 53),)), True),
        (Rule("allow", protocol="tcp"), False),
        (Rule("allow", protocol="icmp"), False),
        (Rule("allow", protocol=6, dst_ports=(PortRange(80, 80),)), False),
        (Rule("allow", protocol="tcp", dst_ports=(PortRange(1, 1000),)), False),
        (Rule("allow", **TCP, dst_named_port_ip_set_ids=("n:x",)), False),
        (Rule("allow", protocol="tcp", not_dst_ports=(PortRange(80, 80),)), False),
    ],
)
def test_ports_without_which_no_rule_matches(rule, needs_ports):
    assert units.needed_ports(rule) == (rule.dst_ports if needs_ports else ())


RULES = st.builds(
    lambda action, protocol, ports, peers: Rule(
        action,
        protocol=protocol,
        dst_ports=tuple(PortRange(first, first + more) for first, more in ports)
        if protocol in PORTED
        else (),
        src_ip_set_ids=peers,
    ),
    st.sampled_from(("allow", "allow", "allow", "deny", "next-tier", "log")),
    st.sampled_from(("tcp", "tcp", "udp", "icmp", None)),
    st.lists(st.tuples(st.integers(1, 40), st.sampled_from((0, 0, 1, 70))), max_size=2),
    st.lists(st.sampled_from([f"s:{number}" for number in range(60)]), max_size=1).map(tuple),
)
PORTED = ("tcp", "udp")
#: Rules of one shape, which are cut most: the port and the peers of each.
SHAPED = st.lists(
    st.tuples(st.sampled_from((7, 7, 7, 8)), st.integers(0, 99)).map(
        lambda told: Rule(
            "allow",
            protocol="tcp",
            dst_ports=(PortRange(told[0], told[0]),),
            src_ip_set_ids=(f"s:{told[1]}",),
        )
    ),
    min_size=30,
    max_size=300,
)


def _groups(rules):
    """Rules dealt out to policies of up to twenty."""
    policies, size = {}, 1
    while rules:
        policies[f"p{len(policies)}"], rules = rules[:size], rules[size:]
        size = size % 20 + 3
    given = PolicyGroup("default", True, "all()", tuple(policies), "normal")
    made = {name: units.render_units(CONTEXT, held, True, name) for name, held in policies.items()}
    return given, policies, made


def _fate(rules, packet):
    """(log lines, verdict) of the rules one after another. A packet is (protocol, port, sets that it is in)."""
    protocol, port, sets = packet
    logged = 0
    for rule in rules:
        if rule.protocol not in {None, protocol} or not sets.issuperset(rule.src_ip_set_ids):
            continue
        if rule.dst_ports and not any(ports.first <= port <= ports.last for ports in rule.dst_ports):
            continue
        if rule.action != "log":
            return logged, rule.action
        logged += 1
    return logged, ""


class Walk:
    """A packet through rendered chains, by their text."""

    def __init__(self, rendered, made, packet):
        self.chains = {chain.name: chain.rules for chain in rendered.chains}
        for name, held in made.items():
            inbound, _ = units.policy_chains(name, held, ())
            self.chains[inbound.name] = inbound.rules
        self.unions = rendered.unions
        self.packet = packet
        self.mark = self.logged = self.met = 0

    def run(self, chain):
        """The verdict; empty when the chain was left without one."""
        for rule in self.chains[chain]:
            self.met += 1
            words = rule.split(" ")
            jump = words.index("--jump") if "--jump" in words else words.index("--port-map")
            if not self._matches(words[:jump]):
                continue
            if words[jump] == "--port-map":
                entry = self._entry(int(words[jump - 1], 16), words[-1])
                if entry:
                    return self.run(entry)
                continue
            rest = words[jump:]
            if rest[1] == "MARK":
                value, _, mask = rest[3].partition("/")
                self.mark = self.mark & ~int(mask, 16) | int(value, 16)
                rest = rest[4:]
            if rest == ["--jump", "RETURN"]:
                return ""
            if rest == ["--jump", "DROP"]:
                return "deny"
            if rest[:2] == ["--jump", "LOG"]:
                self.logged += 1
            elif rest and self.run(rest[1]):
                return "deny"
        return ""

    def _entry(self, mask, name):
        protocol, port, _ = self.packet
        for entry in self.chains[name]:
            words = entry.split(" ")
            if words[1] == protocol and int(words[-3]) == port & mask:
                return words[-1]
        return ""

    def _matches(self, words):
        protocol, port, sets = self.packet
        holds = True
        for option, value in itertools.pairwise(words):
            if option == "-p":
                holds &= value == protocol
            elif option == "--match-set":
                set_id = value.removeprefix("cali40")
                holds &= not sets.isdisjoint(self.unions.get(set_id, (set_id,)))
            elif option == "--destination-ports":
                ranges = [item.partition(":") for item in value.split(",")]
                holds &= any(int(first) <= port <= int(last or first) for first, _, last in ranges)
            elif option == "--mark":
                wanted, _, mask = value.partition("/")
                holds &= (self.mark & int(mask, 16) == int(wanted, 16)) != ("! --mark" in " ".join(words))
        return holds


PACKETS = st.tuples(
    st.sampled_from(("tcp", "udp", "icmp")),
    st.integers(1, 130),
    st.frozensets(st.integers(0, 99).map(lambda number: f"s:{number}"), max_size=5),
)


@settings(deadline=None, max_examples=60)
@given(
    st.one_of(st.lists(RULES, min_size=4, max_size=120), SHAPED), st.lists(PACKETS, min_size=10, max_size=10)
)
def test_a_packet_fares_as_if_it_met_all_rules_in_order(rules, packets):
    given, policies, made = _groups(rules)
    rendered = render_native_group(CONTEXT, given, made.get)
    names = [chain.name for chain in rendered.chains]
    assert len(names) == len(set(names))
    for packet in packets:
        walk = Walk(rendered, made, packet)
        verdict = walk.run(given.chain_name)
        marks = {CONTEXT.marks.accept: "allow", CONTEXT.marks.passed: "next-tier"}
        verdict = verdict or marks.get(walk.mark & (CONTEXT.marks.accept | CONTEXT.marks.passed), "")
        inorder = [rule for held in policies.values() for rule in held]
        # Of many equal log lines in a row all are kept.
        assert (walk.logged, verdict) == _fate(inorder, packet)


def _many(count):
    return [
        Rule("allow", protocol="tcp", dst_ports=(PortRange(5201, 5201),), src_ip_set_ids=(f"s:{number}",))
        for number in range(count)
    ]


def _rendered(rules):
    names = tuple(f"p{rule.src_ip_set_ids[0]}" for rule in rules)
    made = {
        name: units.render_units(CONTEXT, [rule], True, name) for name, rule in zip(names, rules, strict=True)
    }
    given = PolicyGroup("default", True, "all()", names, "normal")
    return given, made, render_native_group(CONTEXT, given, made.get)


def test_among_thousands_of_rules_for_one_port_a_packet_meets_few():
    given, made, rendered = _rendered(_many(2000))
    for number in (0, 999, 1999):
        walk = Walk(rendered, made, ("tcp", 5201, frozenset((f"s:{number}",))))
        walk.run(given.chain_name)
        assert walk.mark == CONTEXT.marks.accept
        assert walk.met < 80


def test_one_rule_more_among_thousands_changes_few_chains():
    rules = _many(2000)
    before = set(_rendered(rules)[2].chains)
    more = [*rules[:700], msgspec.structs.replace(rules[700], src_ip_set_ids=("s:new",)), *rules[700:]]
    after = set(_rendered(more)[2].chains)
    assert len(after - before) < 12
    assert len(after) > 150
