"""What is written to iptables, without running it."""

import json
from pathlib import Path

import pytest

from pycalico.dataplane.drivers.backend import Programs
from pycalico.dataplane.drivers.chains import Chains, KernelChain, OwnChain, own_chain
from pycalico.dataplane.drivers.iptables import Options, Table
from pycalico.dataplane.drivers.table_dump import FOREIGN, OLD, SeenChain, parse
from pycalico.dataplane.rules.chain import Chain, target
from pycalico.reconcile.target import TargetError

DATA = Path(__file__).parents[2] / "golden" / "data" / "felix-vectors.json"
VECTORS = {v["id"]: v for v in json.loads(DATA.read_text())["vectors"]}
SEED = VECTORS["hash-seed-tw"]
NAME = SEED["input"]["chain"]
CHAIN = own_chain(Chain(NAME, tuple(SEED["input"]["rules"])))


def ours(chain):
    return chain.startswith("cali-")


class Fake(Table):
    """A table whose programs are played by the test: ``dump`` is what save prints, ``refuse`` what restore says."""

    def __init__(self, dump="", variant="legacy", insert=True, refuse=None):
        super().__init__("filter", Programs(4, variant, "save", "restore"), Options(insert))
        self.dump = dump
        self.refuse = refuse or (lambda _: ("", ""))
        self.written = []

    def _dump(self):
        return parse(f"*filter\n{self.dump}COMMIT\n", "filter", ours)

    def _restore(self, text):
        self.written.append(text)
        return self.refuse(text)


def dump_of(ids, name=NAME):
    return f":{name} - [0:0]\n" + "".join(f'-A {name} -m comment --comment "cali:{i}" -j X\n' for i in ids)


def test_tampered_chain_takes_the_recorded_delta():
    ids = list(SEED["expect"])
    table = Fake(dump_of([ids[0], "foreignforeign12", *ids[2:], "ninthninthninth1"]))
    have = table.read()
    assert not table.same(CHAIN, have[NAME])
    outcome = table.apply({NAME: CHAIN}, set())
    assert table.written == [VECTORS["restore-delta"]["expect"]]
    assert outcome.now[NAME].ids == CHAIN.ids


def test_equal_chain_writes_nothing():
    for variant in ("legacy", "nft"):
        table = Fake(dump_of(SEED["expect"]), variant)
        assert table.same(CHAIN, table.read()[NAME])
        table.apply({NAME: CHAIN}, set())
        assert table.written == []


def test_nft_rewrites_a_changed_chain_as_a_whole():
    table = Fake(dump_of(SEED["expect"][:7]), "nft")
    table.read()
    table.apply({NAME: CHAIN}, set())
    (text,) = table.written
    assert text.splitlines()[:2] == ["*filter", f":{NAME} - -"]
    assert text.count(f"-A {NAME} ") == 8


@pytest.mark.parametrize(("variant", "transactions"), [("legacy", 1), ("nft", 2)])
def test_deletion_flushes_first(variant, transactions):
    table = Fake(dump_of(["aaaaaaaaaaaaaaaa"], "cali-old"), variant)
    assert "cali-old" in table.read()
    table.apply({NAME: CHAIN}, {"cali-old"})
    (text,) = table.written
    assert text.count("COMMIT") == transactions
    lines = text.splitlines()
    assert lines.index(":cali-old - -") < lines.index("--delete-chain cali-old")


HOOK = KernelChain(
    own_chain(Chain("FORWARD", ("--jump cali-FORWARD",))), OwnChain(("--jump MARK",), ("appendappend1234",))
)


@pytest.mark.parametrize("insert", [True, False])
def test_hooks_go_around_foreign_rules(insert):
    table = Fake(":FORWARD ACCEPT [0:0]\n-A FORWARD -s 1.2.3.4/32 -j DROP\n", insert=insert)
    assert "FORWARD" not in table.read()
    outcome = table.apply({"FORWARD": HOOK}, set())
    verb = "-I" if insert else "-A"
    assert table.written[0].splitlines()[1:3] == [
        f'{verb} FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" --jump cali-FORWARD',
        '-A FORWARD -m comment --comment "cali:appendappend1234" --jump MARK',
    ]
    seen = outcome.now["FORWARD"]
    assert seen.ids == (("wUHhoiAYhphO9Mso", FOREIGN) if insert else (FOREIGN, "wUHhoiAYhphO9Mso")) + (
        "appendappend1234",
    )
    assert table.same(HOOK, seen)


def test_displaced_hook_is_deleted_by_value_and_set_again():
    table = Fake(
        ":FORWARD ACCEPT [0:0]\n-A FORWARD -s 1.2.3.4/32 -j DROP\n"
        '-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD\n'
        '-A FORWARD -m comment --comment "cali:appendappend1234" -j MARK\n'
    )
    have = table.read()["FORWARD"]
    assert not table.same(HOOK, have)
    table.apply({"FORWARD": HOOK}, set())
    lines = table.written[0].splitlines()
    assert lines[1] == '-D FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD'
    assert lines[2] == '-D FORWARD -m comment --comment "cali:appendappend1234" -j MARK'
    assert sum(line.startswith("-I") for line in lines) == 1


def test_refused_new_chain_drops_all_and_the_rest_goes_on():
    def refuse(text):
        line = next((item for item in text.splitlines() if "33" in item), "")
        return ("invalid mask `33'", line) if line else ("", "")

    table = Fake(refuse=refuse)
    table.read()
    bad = own_chain(Chain("cali-pi-bad", ("--source 10.0.0.0/33 --jump ACCEPT",)))
    outcome = table.apply({"cali-pi-bad": bad, NAME: CHAIN}, set())
    assert outcome.failures == {"cali-pi-bad": "invalid mask `33'"}
    assert outcome.now[NAME].ids == CHAIN.ids
    assert '-A cali-pi-bad -m comment --comment "cali:' in table.written[-1]
    assert table.written[-1].count("--jump DROP") == SEED["input"]["rules"].__str__().count("--jump DROP") + 1


def test_refused_change_keeps_what_works():
    def refuse(text):
        return ("bad", f"-R {NAME} 1 x") if f"-R {NAME}" in text else ("", "")

    table = Fake(dump_of(["aaaaaaaaaaaaaaaa"]), refuse=refuse)
    table.read()
    outcome = table.apply({NAME: CHAIN}, set())
    assert outcome.failures == {NAME: "bad"}
    assert NAME not in outcome.now


def test_endless_refusal_is_an_error():
    table = Fake(refuse=lambda _: ("cannot allocate memory", ""))
    table.read()
    with pytest.raises(TargetError, match="cannot allocate memory"):
        table.apply({NAME: CHAIN}, set())
    assert len(table.written) == 10


def test_dump_knows_ours_foreign_and_old_rules():
    text = (
        "*nat\n:POSTROUTING ACCEPT [0:0]\n:cali-x - [0:0]\n:mine - [0:0]\n"
        "-A POSTROUTING -o eth0 -j MASQUERADE\n"
        "-A POSTROUTING -m set --match-set felix-masq-ipam-pools src -j MASQUERADE\n"
        "-A POSTROUTING -j felix-POSTROUTING\n"
        '-A cali-x -s 1.1.1.1/32 -m comment --comment "cali:abcdefghijklmnop" -j RETURN\n'
        "COMMIT\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
    )
    seen = parse(text, "nat", ours)
    assert seen["POSTROUTING"].ids == (FOREIGN, OLD, OLD)
    assert sorted(seen["POSTROUTING"].lines) == [1, 2]
    assert seen["cali-x"] == SeenChain(("abcdefghijklmnop",))
    assert seen["mine"].ids == ()
    assert "INPUT" not in seen


def test_cut_off_dump_is_refused():
    with pytest.raises(TargetError, match="cut off"):
        parse("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACC", "filter", ours)


def test_empty_dump_is_an_unused_table():
    assert parse("", "filter", ours) == {}


def test_unreadable_nft_table_is_an_error():
    text = "# Table `filter' is incompatible, use 'nft' tool.\n"
    with pytest.raises(TargetError, match="nft rules that iptables cannot express"):
        parse(text, "filter", ours)


class Wishes:
    def __init__(self):
        self.now = {}

    def want(self, key, value):
        self.now[key] = value

    def unwant(self, key):
        del self.now[key]

    def chains(self):
        return {key for key in self.now if key.startswith("cali-")}


def test_only_reachable_chains_are_programmed():
    wishes = Wishes()
    chains = Chains(wishes)
    chains.update(
        [
            Chain("cali-a", ("--jump cali-b",)),
            Chain("cali-b", ("--goto cali-c",)),
            Chain("cali-c"),
            Chain("cali-d"),
        ]
    )
    assert wishes.chains() == set()
    chains.hang("INPUT", ("--jump cali-a",))
    assert wishes.chains() == {"cali-a", "cali-b", "cali-c"}
    chains.update([Chain("cali-a", ("--jump cali-d",))])
    assert wishes.chains() == {"cali-a", "cali-d"}
    chains.update([Chain("cali-a", ("--jump cali-b", "--jump cali-c"))])
    chains.remove(["cali-b"])
    assert wishes.chains() == {"cali-a", "cali-b", "cali-c"}
    assert wishes.now["cali-b"].rules == ()
    chains.update([Chain("cali-a")])
    assert wishes.chains() == {"cali-a"}


def test_a_comment_is_no_jump():
    assert target('-m comment --comment "x --jump cali-foo"') == ""
    assert target('--jump LOG --log-prefix "calico-packet: " --log-level 5') == ""
    assert target("--goto cali-foo") == "cali-foo"
    assert target("") == ""
