"""What is written to ipset, without running it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycalico.dataplane.drivers.ipsets import IPSet, IPSets, canonical
from pycalico.reconcile.reconciler import Reconciler

DATA = Path(__file__).parents[2] / "golden" / "data" / "felix-vectors.json"
CREATE = next(v for v in json.loads(DATA.read_text())["vectors"] if v["id"] == "ipset-create")
NET = "hash:net"


class Fake(IPSets):
    def __init__(self, **have):
        super().__init__(4)
        self.given = have
        self.written = []
        self.destroyed = []

    def _list(self):
        return dict(self.given)

    def _restore(self, lines):
        self.written.append(lines)
        return ""

    def _destroy(self, set_name):
        self.destroyed.append(set_name)
        return "in use" if set_name.endswith("busy") else ""


def test_fresh_set_is_the_recorded_one():
    sets = Fake()
    sets.read()
    sets.apply({"cali40masq-ipam-pools": IPSet(NET, 1048576, {"172.16.0.0/16"})}, set())
    assert [*sets.written[0], "COMMIT"] == CREATE["expect"]


def test_members_change_deletions_first():
    sets = Fake(cali40s=IPSet(NET, 10, {"10.0.0.1", "10.0.0.2"}))
    sets.read()
    want = IPSet(NET, 10, {"10.0.0.2", "10.0.0.3"})
    outcome = sets.apply({"cali40s": want}, set())
    assert sets.written == [["del cali40s 10.0.0.1 --exist", "add cali40s 10.0.0.3"]]
    want.members.add("10.0.0.4")
    assert not sets.same(want, outcome.now["cali40s"])


class Kernel(Fake):
    """Does what is written; ``given`` is what is there."""

    def _list(self):
        return {name: IPSet(have.type, have.most, set(have.members)) for name, have in self.given.items()}

    def read(self):
        self._fingerprint = b""
        return super().read()

    def _restore(self, lines):
        for line in lines:
            verb, name, rest, *_ = line.split(" ")
            if verb == "create":
                self.given[name] = IPSet(rest, 10, set())
            elif verb == "add":
                self.given[name].members.add(rest)
            else:
                self.given[name].members.discard(rest)
        return super()._restore(lines)


MEMBERS = st.sets(st.integers(1, 5).map("10.0.0.{}".format), max_size=3)


@given(st.lists(st.tuples(st.sampled_from(("wish", "write", "others", "read")), MEMBERS), max_size=20))
def test_what_is_noted_leads_where_comparing_all_would(steps):
    kernel = Kernel()
    reconciler = Reconciler("sets", kernel)
    want = IPSet(NET, 10, set(), touched=set())
    for kind, members in [*steps, ("read", set()), ("write", set())]:
        if kind == "wish":
            want.toggle(members)
            reconciler.want("cali40s", want)
        elif kind == "others" and "cali40s" in kernel.given:
            kernel.given["cali40s"].members ^= members
        elif kind == "read":
            reconciler.resync()
        elif kind == "write":
            reconciler.run(0)
    if "cali40s" in reconciler.delta.wanted:
        assert kernel.given["cali40s"].members == want.members
        written = len(kernel.written)
        reconciler.run(0)
        assert len(kernel.written) == written


def test_another_type_is_swapped_in():
    sets = Fake(cali40s=IPSet("hash:ip", 10, {"10.0.0.1"}), cali4t0=IPSet(NET, 10, set()))
    sets.read()
    sets.apply({"cali40s": IPSet(NET, 10, {"10.0.0.0/8"})}, set())
    assert sets.written == [
        ["create cali4t1 hash:net family inet maxelem 10", "add cali4t1 10.0.0.0/8", "swap cali40s cali4t1"]
    ]
    assert sets.destroyed == ["cali4t1"]


def test_a_set_in_use_is_a_failure_of_that_set_only():
    sets = Fake(cali40busy=IPSet(NET, 10, set()), cali40x=IPSet(NET, 10, set()))
    sets.read()
    assert sets.apply({}, {"cali40busy", "cali40x"}).failures == {"cali40busy": "in use"}


def test_listing_keeps_to_our_family():
    lines = [
        "create cali40s hash:net family inet hashsize 1024 maxelem 1048576 bucketsize 12 initval 0x1",
        "add cali40s 10.0.0.0/8",
        "create cali60s hash:net family inet6 hashsize 1024 maxelem 1048576",
        "add cali60s fd00::/8",
        "create KUBE-X hash:ip family inet hashsize 1024 maxelem 65536",
        "create felix-masq-ipam-pools hash:net family inet hashsize 1024 maxelem 5",
        "create cali4bits bitmap:port range 0-10",
    ]
    found = IPSets(4)._parse(lines)
    assert found["cali40s"] == IPSet(NET, 1048576, {"10.0.0.0/8"})
    assert set(found) == {"cali40s", "felix-masq-ipam-pools", "cali4bits"}
    assert set(IPSets(6)._parse(lines)) == {"cali60s"}


@pytest.mark.parametrize(
    ("family", "given", "expect"),
    [
        (4, "10.0.0.1/32", ["10.0.0.1"]),
        (4, "10.1.2.3/8", ["10.0.0.0/8"]),
        (4, "0.0.0.0/0", ["0.0.0.0/1", "128.0.0.0/1"]),
        (4, "10.0.0.1,tcp:80", ["10.0.0.1,tcp:80"]),
        (6, "FD00:0:0::1/128", ["fd00::1"]),
        (6, "::/0", ["::/1", "8000::/1"]),
        (6, "fd00:0::2,udp:53", ["fd00::2,udp:53"]),
    ],
)
def test_members_are_spelled_as_ipset_prints_them(family, given, expect):
    assert list(canonical(family, given)) == expect


def test_one_bad_set_harms_no_other(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    sets = Fake()
    sets._restore = lambda lines: "full" if any("bad" in line for line in lines) else ""
    sets.read()
    outcome = sets.apply(
        {"cali40bad": IPSet(NET, 1, {"10.0.0.1"}), "cali40x": IPSet(NET, 9, {"10.0.0.1"})}, set()
    )
    assert outcome.failures == {"cali40bad": "full"}
    assert set(outcome.now) == {"cali40x"}
