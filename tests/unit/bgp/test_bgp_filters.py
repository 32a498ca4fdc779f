import itertools

import pytest

from pycalico.api.v3.bgpfilter import BGPFilterRule, BGPFilterSpec
from pycalico.bgp import filters

CIDR = "(net ~ 77.0.0.0/16)"
SOURCE = "((defined(source))&&(source ~ [ RTS_BGP ]))"
INTERFACE = '((defined(ifname))&&(ifname ~ "*.calico"))'


@pytest.mark.parametrize("action", ["Accept", "Reject"])
@pytest.mark.parametrize(("cidr", "source", "interface"), list(itertools.product([False, True], repeat=3)))
def test_every_combination_of_conditions(cidr, source, interface, action):
    rule = BGPFilterRule(
        cidr="77.0.0.0/16" if cidr else "",
        match_operator="In" if cidr else "",
        source="RemotePeers" if source else "",
        interface="*.calico" if interface else "",
        action=action,
    )
    wanted = [text for text, on in ((CIDR, cidr), (SOURCE, source), (INTERFACE, interface)) if on]
    said = filters.statement(rule, 4)
    act = f"{action.lower()};"
    assert said == (f"if ({'&&'.join(wanted)}) then {{ {act} }}" if wanted else act)


@pytest.mark.parametrize(
    ("operator", "sign"), [("In", "~"), ("NotIn", "!~"), ("Equal", "="), ("NotEqual", "!=")]
)
def test_operators(operator, sign):
    rule = BGPFilterRule(cidr="10.0.0.0/8", match_operator=operator, action="Accept")
    assert filters.statement(rule, 4) == f"if ((net {sign} 10.0.0.0/8)) then {{ accept; }}"


def test_names_are_cut_only_when_they_must_be():
    short = "45characters.exactly.so.should.not.truncate.x"
    assert len(short) == 45
    assert filters.function_name(short, "import", 4) == f"'bgp_{short}_importFilterV4'"
    long = filters.function_name("46characters.exactly.so.should.truncate.by.oneX", "export", 6)
    assert len(long) == 66
    assert filters.function_name("x" * 104, "import", 4).count("_") == 3


BAD = [
    BGPFilterRule(cidr='10.0.0.0/8) then accept; "', match_operator="In", action="Accept"),
    BGPFilterRule(cidr="10.0.0.0/8", match_operator="", action="Accept"),
    BGPFilterRule(cidr="fd00::/8", match_operator="In", action="Accept"),
    BGPFilterRule(interface='eth0"', action="Accept"),
    BGPFilterRule(source="Everybody", action="Accept"),
]


@pytest.mark.parametrize("rule", BAD)
def test_a_bad_rule_never_opens_a_filter(rule):
    problems = []
    lines = filters.functions({"f": BGPFilterSpec(import_v4=[rule])}, 4, problems)
    assert "accept" not in "\n".join(lines)
    assert len(problems) == 1

    rule.action = "Reject"
    lines = filters.functions({"f": BGPFilterSpec(import_v4=[rule])}, 4, [])
    assert "  reject;" in lines


def test_only_what_has_rules_of_the_family_is_defined_and_called():
    known = {
        "v4-in": BGPFilterSpec(import_v4=[BGPFilterRule(action="Accept")]),
        "v6-out": BGPFilterSpec(export_v6=[BGPFilterRule(action="Reject")]),
    }
    assert [line for line in filters.functions(known, 4, []) if line.startswith("function")] == [
        "function 'bgp_v4-in_importFilterV4'() {"
    ]
    names = ("v6-out", "v4-in", "deleted")
    assert filters.calls(names, known, "import", 4) == ["'bgp_v4-in_importFilterV4'();"]
    assert filters.calls(names, known, "export", 4) == []
    assert filters.calls(names, known, "export", 6) == ["'bgp_v6-out_exportFilterV6'();"]
