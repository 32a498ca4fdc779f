"""A rule that names a protocol and excludes one: iptables knows a single protocol per rule."""

import pytest

from pycalico.calc.messages import ProfileUpdate, Rule
from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.rules.context import RuleContext
from pycalico.dataplane.rules.marks import allocate
from pycalico.dataplane.rules.policy import render_profile


def lines(**fields):
    context = RuleContext(DataplaneConfig(hostname="h"), allocate(0xFFFF0000, False), 4, True, True)
    return render_profile(context, ProfileUpdate("p", (Rule("deny", **fields),), ()))[0].rules


def test_a_wished_protocol_excludes_all_others():
    (line,) = lines(protocol="tcp", not_protocol="udp")
    assert line.endswith("-p tcp --jump DROP")


@pytest.mark.parametrize("same", ["tcp", 6])
def test_nothing_matches_a_protocol_without_itself(same):
    (line,) = lines(protocol="tcp", not_protocol=same)
    assert "--jump" not in line


def test_an_excluded_protocol_alone_stays():
    (line,) = lines(not_protocol="udp")
    assert line.endswith("! -p udp --jump DROP")
