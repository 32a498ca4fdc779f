"""The nftables dataplane on the real kernel: adoption, repair, refusal, and the switch from and to iptables."""

import re
import sys
import threading
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import dataplane_rig as rig

from pycalico.calc.messages import (
    HostEndpointUpdate,
    HostMetadataUpdate,
    IPPoolUpdate,
    IPSetDelta,
    IPSetRemove,
    IPSetType,
    IPSetUpdate,
    PolicyID,
    PolicyLists,
    PolicyRemove,
    PolicyUpdate,
    PortRange,
    Rule,
)
from pycalico.dataplane.drivers.choice import NftablesUnfit, choose
from pycalico.dataplane.drivers.nft import features
from pycalico.felix import nft_metrics
from pycalico.kernel import nftexpr
from pycalico.kernel.nfnetlink import Channel

pytestmark = pytest.mark.netns

NATIVE = {"nftables_mode": "Enabled"}
POD = "calibd2348b4f67"
NODES = (HostMetadataUpdate("k8s-w1", "192.168.10.101"), IPPoolUpdate("172.16.0.0/16", nat_outgoing=True))
SET = "s:members"
POLICY = PolicyID("default", "default/default.allow")
LISTS = (PolicyLists("default", (POLICY.name,), (POLICY.name,)),)


@pytest.fixture(autouse=True)
def _namespace():
    with rig.namespace():
        rig.host()
        rig.veth(POD, "p0")
        yield


def policy(*rules, name=POLICY):
    return PolicyUpdate(name, inbound=rules, outbound=(Rule("allow"),), original_selector="all()")


def from_set(port):
    return Rule("allow", protocol="tcp", src_ip_set_ids=(SET,), dst_ports=(PortRange(port, port),))


DEFAULT_RULES = (from_set(80),)


def world(*members, rules=DEFAULT_RULES):
    return (
        *NODES,
        IPSetUpdate(SET, IPSetType("hash:net"), members),
        *rig.PROFILES,
        policy(*rules),
        rig.workload("pod1", POD, "172.16.158.2/32", tiers=LISTS),
    )


def table(what="table ip calico"):
    return rig.sh(f"nft -s list {what}", check=False)


def members():
    found = re.search(r"elements = {(.*?)}", table("set ip calico cali40s-members"), re.DOTALL)
    return set(found[1].replace(",", " ").split()) if found else set()


def targets(felix):
    return [item.target for item in felix.dataplane.assembly.natives]


def test_restart_adopts_everything():
    messages = world(
        "10.0.0.1", "10.1.0.0/16", rules=(from_set(80), Rule("deny", src_nets=("10.0.0.0/8", "12.0.0.0/8")))
    )
    with rig.Rig(**NATIVE, ipv6=True).start(*messages) as felix:
        # The addresses of links that just came up may follow the rest.
        assert targets(felix)[0].transactions == 1
    before = table()
    assert "saddr { 10.0.0.0/8, 12.0.0.0/8 }" in before
    with rig.Rig(**NATIVE, ipv6=True).start(*messages) as felix:
        felix.resync()
        assert [target.transactions for target in targets(felix)] == [0, 0]
    assert table() == before


def test_each_change_is_as_small_as_what_changed():
    many = [policy(from_set(80), name=PolicyID("default", f"default/default.p{n:03}")) for n in range(300)]
    names = tuple(update.id.name for update in many)
    crowd = (PolicyLists("default", names, ()),)
    pod = rig.workload("pod1", POD, "172.16.158.2/32", tiers=crowd)
    with rig.Rig(**NATIVE).start(*world("10.0.0.1"), *many, pod) as felix:
        (target,) = targets(felix)
        before = target.messages_written
        felix.put(IPSetDelta(SET, added=("10.0.0.2",), removed=("10.0.0.1",)))
        rig.until(lambda: members() == {"10.0.0.2"}, what="the member")
        assert target.messages_written - before == 2
        before = target.messages_written
        added = PolicyID("default", "default/default.p150a")
        longer = tuple(sorted((*names, added.name)))
        felix.put(policy(from_set(81), name=added), rig.workload("pod1", POD, "172.16.158.2/32", tiers=(PolicyLists("default", longer, ()),)))  # fmt: skip
        rig.until(lambda: "dport 81" in table(), what="the policy")
        felix.settle()
        # A rule in the group; no endpoint's chain, and none of the policy's own.
        assert target.messages_written - before == 1


def test_endpoints_told_of_a_policy_one_after_the_other_share_the_groups_chain():
    """A batch of messages may end between two endpoints that the same change concerns."""
    first, inside, last = (PolicyID("default", f"default/default.{name}") for name in ("a", "b", "c"))
    rig.veth("cali2", "p1")

    def pods(*names, of=(("pod1", POD), ("pod2", "cali2"))):
        lists = (PolicyLists("default", tuple(name.name for name in names), ()),) if names else ()
        return [
            rig.workload(pod, interface, f"172.16.158.{n}/32", tiers=lists)
            for n, (pod, interface) in enumerate(of, 2)
        ]

    outer = (policy(from_set(80), name=first), policy(from_set(81), name=last))
    more = policy(from_set(82), name=inside)
    with rig.Rig(**NATIVE).start(*world("10.0.0.1"), *outer, *pods(first, last)) as felix:
        felix.put(more, pods(first, inside, last)[0])
        felix.settle()
        felix.put(policy(from_set(83), name=last))
        felix.settle()
        assert re.search("dport 80.*dport 82.*dport 83", table(), re.DOTALL)
        felix.put(*pods(inside, last))
        felix.settle()
        assert not felix.dataplane.status().failures
        grown = table()
        assert "dport 82" in grown
        assert "dport 80" not in re.sub(r"chain filter-cali-p[io].*?\n\t}", "", grown, flags=re.DOTALL)
        felix.put(pods(first, last)[0])
        felix.settle()
        felix.put(*pods(first, last)[:1], PolicyRemove(inside), *pods(first, last))
        felix.settle()
        after = table()
    with rig.Rig(**NATIVE).start(*world("10.0.0.1"), outer[0], policy(from_set(83), name=last), *pods(first, last)) as felix:  # fmt: skip
        felix.resync()
        (target,) = targets(felix)
        assert target.transactions == 0
    assert table() == after


def test_tampering_is_repaired_and_others_tables_are_left_alone():
    rig.sh(
        "nft add table ip mine; nft add chain ip mine c; nft add rule ip mine c drop; nft add table inet calico"
    )
    with rig.Rig(**NATIVE).start(*world("10.0.0.1")) as felix:
        before = table()
        mine = table("table ip mine")
        for harm in (
            "nft flush chain ip calico filter-cali-FORWARD",
            "nft insert rule ip calico filter-FORWARD accept",
            "nft add chain ip calico junk",
            "nft add set ip calico junk '{ type ipv4_addr; }'",
            "nft add element ip calico cali40s-members '{ 9.9.9.9 }'",
            "nft delete element ip calico cali40s-members '{ 10.0.0.1 }'",
            f"nft delete element ip calico filter-cali-to-wl-dispatch '{{ {POD} }}'",
            "nft delete table ip calico",
        ):
            rig.sh(harm)
            rig.until(lambda: table() == before, what=f"repair of {harm}")
        assert felix.error is None
        assert table("table ip mine") == mine
    assert "table inet calico" in rig.sh("nft list tables")


def test_a_table_of_another_make_is_made_anew():
    rig.sh(
        "nft add table ip calico; nft add map ip calico cali40s-members '{ type ipv4_addr : verdict; }';"
        "nft add chain ip calico filter-FORWARD '{ type filter hook forward priority -5; }';"
        "nft add rule ip calico filter-FORWARD ip saddr vmap @cali40s-members"
    )
    with rig.Rig(**NATIVE).start(*world("10.0.0.1")) as felix:
        (target,) = targets(felix)
        assert target.transactions == 1
        assert members() == {"10.0.0.1"}
        assert "priority filter" in table("chain ip calico filter-FORWARD")


def test_a_set_takes_a_net_when_the_first_one_comes():
    with rig.Rig(**NATIVE).start(*world("10.0.0.1", "10.1.2.3")) as felix:
        assert "interval" not in table("set ip calico cali40s-members")
        rules = table("chain ip calico filter-cali-pi-_" + _hash_of_policy())
        felix.put(IPSetDelta(SET, added=("10.1.0.0/16", "10.1.2.0/24"), removed=()))
        rig.until(lambda: members() == {"10.0.0.1", "10.1.0.0/16"}, what="the net, which holds the others")
        assert table("chain ip calico filter-cali-pi-_" + _hash_of_policy()) == rules
        felix.put(IPSetDelta(SET, added=(), removed=("10.1.0.0/16",)))
        rig.until(lambda: members() == {"10.0.0.1", "10.1.2.0/24"}, what="the net within")
        felix.put(IPSetDelta(SET, added=("10.1.2.4",), removed=("10.1.2.0/24",)))
        rig.until(lambda: members() == {"10.0.0.1", "10.1.2.3", "10.1.2.4"}, what="the addresses within")
        felix.resync()
        assert felix.dataplane.status().failures == ()


def _hash_of_policy():
    return re.search(r"filter-cali-pi-_(\S+)", table())[1]


BAD = PolicyID("default", "default/default.bad")


def break_rules(monkeypatch, words):
    """Rules with port 6666 are what the kernel cannot take: nothing that validation lets through is known to be so."""
    from pycalico.dataplane.drivers.nft import changes

    real = changes.compile_rule

    def broken(family, where, text):
        found = real(family, where, text)
        return type(found)((words,), found.comment) if "--destination-ports 6666" in text else found

    monkeypatch.setattr(changes, "compile_rule", broken)


def beside(*others):
    lists = (PolicyLists("default", (POLICY.name, BAD.name, *others), ()),)
    return rig.workload("pod1", POD, "172.16.158.2/32", tiers=lists)


@pytest.mark.parametrize("alone", [True, False], ids=["in its own chain", "in a group"])
def test_what_the_kernel_refuses_is_named_and_denied_and_the_rest_lands(monkeypatch, alone):
    break_rules(monkeypatch, nftexpr.expression("nonesuch", b""))

    def bad(port):
        update = policy(from_set(port), name=BAD)
        return msgspec.structs.replace(update, original_selector="alone") if alone else update

    with rig.Rig(**NATIVE).start(*world("10.0.0.1"), bad(6666), beside()) as felix:
        (failure,) = felix.dataplane.status().failures
        assert ("cali-pi-" in failure.key) == alone
        assert "ENOENT" in failure.reason
        assert "Policy default/default.bad ingress" in failure.reason
        assert re.search(r"Policy default/default.allow ingress.*", table())
        assert "dport 80" in table()
        assert len(re.findall("Drop: the kernel refused Policy default/default.bad", table())) == 1
        felix.put(bad(6667))
        rig.until(lambda: "dport 6667" in table(), what="the mended policy")
        rig.until(lambda: not felix.dataplane.status().failures, what="no failure")
        assert "the kernel refused" not in table()


def test_what_the_kernel_refuses_as_a_whole_is_found_by_halves(monkeypatch):
    """A loop shows at the transaction's end, and the kernel does not say where it is."""
    break_rules(monkeypatch, nftexpr.verdict(nftexpr.JUMP, f"filter-cali-tw-{POD}"))
    more = [PolicyID("default", f"default/default.more{number}") for number in range(40)]
    good = [policy(from_set(7000 + number), name=name) for number, name in enumerate(more)]
    bad = policy(from_set(6665), from_set(6666), name=BAD)
    with rig.Rig(**NATIVE).start(
        *world("10.0.0.1"), *good, bad, beside(*(item.name for item in more))
    ) as felix:
        (failure,) = felix.dataplane.status().failures
        assert "EMLINK" in failure.reason or "ELOOP" in failure.reason
        assert "Policy default/default.bad ingress" in failure.reason
        found = table()
        assert all(f"dport {port} " in found for port in (80, 6665, *range(7000, 7040)))
        assert len(re.findall("Drop: the kernel refused Policy default/default.bad", found)) == 1
        felix.put(policy(from_set(6667), name=BAD))
        rig.until(lambda: "dport 6667" in table() and "refused" not in table(), what="the mended policy")
        rig.until(lambda: not felix.dataplane.status().failures, what="no failure")


@pytest.mark.parametrize("backend", ["legacy", "nft"])
def test_the_switch_and_back_leaves_nothing_of_the_other(backend):
    rig.sh(f"iptables-{backend} -A FORWARD -s 9.9.9.9 -j DROP; ipset create theirs hash:ip")
    old = {"nftables_mode": "Disabled", "iptables_backend": backend}
    with rig.Rig(**old).start(*world("10.0.0.1")):
        assert rig.count("filter", backend)
    with rig.Rig(**NATIVE).start(*world("10.0.0.1")):
        rig.until(
            lambda: not any(rig.count(name, backend) for name in rig.TABLES), what="no chains of iptables'"
        )
        rig.until(lambda: rig.sh("ipset list -name").split() == ["theirs"], what="no sets of iptables'")
        assert "9.9.9.9" in rig.sh(f"iptables-{backend}-save")
        assert members() == {"10.0.0.1"}
    with rig.Rig(**old).start(*world("10.0.0.1")):
        rig.until(lambda: "calico" not in rig.sh("nft list tables"), what="no table of nftables'")
        assert rig.count("filter", backend)


def test_host_endpoints_are_reached_through_maps():
    lists = (PolicyLists("default", (POLICY.name,), (POLICY.name,)),)
    hep = HostEndpointUpdate(
        "eth0", "eth0", tiers=lists, forward_tiers=lists, pre_dnat_tiers=lists, untracked_tiers=lists
    )
    with rig.Rig(**NATIVE).start(*world("10.0.0.1"), hep) as felix:
        found = table()
        for name in (
            "filter-cali-to-host-endpoint",
            "filter-cali-from-host-endpoint",
            "filter-cali-from-hep-forward",
            "mangle-cali-from-host-endpoint",
            "raw-cali-to-host-endpoint",
        ):
            assert re.search(rf"map {name} {{.*?\"eth0\" : goto", found, re.DOTALL), name
        assert "notrack" in found
        assert "tcp dport 22 counter accept" in table("chain ip calico raw-cali-failsafe-in")
        felix.put(PolicyRemove(POLICY), HostEndpointUpdate("eth0", "eth0"))
        rig.until(lambda: "raw-cali-fh-eth0" not in table(), what="no untracked policy")


def test_auto_follows_kube_proxy():
    assert not choose("Auto", (4,)).native
    assert not choose("Disabled", (4,)).native
    rig.sh("nft add table ip kube-proxy")
    assert not choose("Auto", (4,)).native
    rig.sh("nft add chain ip kube-proxy services")
    assert choose("Auto", (4, 6)).native


def test_auto_uses_iptables_where_the_kernel_lacks_something(monkeypatch):
    time_travel = ("time travel", "filter", "-m mark --mark 0x1/0x1 --jump nowhere")
    monkeypatch.setattr(features, "_RULES", (*features._RULES, time_travel))
    rig.sh("nft add table ip kube-proxy; nft add chain ip kube-proxy services")
    with rig.Rig(nftables_mode="Auto", iptables_backend="legacy").start(*world("10.0.0.1")) as felix:
        status = felix.dataplane.status()
        assert status.started
        assert status.failures == ()
        assert "time travel" in status.note
        assert rig.count("filter", "legacy")
        assert "calico" not in rig.sh("nft list tables")


CROWD = tuple(PolicyID("default", f"default/default.p{number:03}") for number in range(60))


def crowd(policies, **members):
    """Policies that let each its own set reach one port; ``members`` of sets that have others than usual."""
    for policy_id in policies:
        number = policy_id.name[-3:]
        rule = Rule("allow", protocol="tcp", src_ip_set_ids=(f"s:{number}",), dst_ports=(PortRange(80, 80),))
        yield IPSetUpdate(
            f"s:{number}", IPSetType("hash:net"), members.get(f"s{number}", (f"10.0.0.{int(number)}",))
        )
        yield policy(rule, name=policy_id)
    lists = (PolicyLists("default", tuple(policy_id.name for policy_id in policies), ()),)
    yield rig.workload("pod1", POD, "172.16.158.2/32", tiers=lists)


def unions():
    """Members of the sets that runs of rules stand behind."""
    found = re.findall(r"set cali40u-\w+ {(.*?)\n\t}", table(), re.DOTALL)
    return [set(re.findall(r"[0-9][0-9./]{6,}", body)) for body in found]


def test_rules_of_many_peers_stand_behind_unions_of_their_sets():
    usual = {f"10.0.0.{number}" for number in range(60)}
    start = (*NODES, *rig.PROFILES, *crowd(CROWD))
    with rig.Rig(**NATIVE).start(*start) as felix:
        (target,) = targets(felix)
        assert len(unions()) > 2
        assert set().union(*unions()) == usual
        before = target.messages_written
        felix.put(IPSetDelta("s:007", added=("10.9.9.9",), removed=("10.0.0.7",)))
        rig.until(lambda: set().union(*unions()) == usual - {"10.0.0.7"} | {"10.9.9.9"}, what="the member")
        # In the set and in the union, one that comes and one that goes.
        assert target.messages_written - before == 4
        felix.put(IPSetDelta("s:007", added=("10.0.0.7",), removed=("10.9.9.9",)))
        # A member of two sets goes from the union with the last.
        felix.put(IPSetDelta("s:008", added=("10.0.0.7",), removed=()))
        felix.put(IPSetDelta("s:007", added=("10.9.0.0/16",), removed=("10.0.0.7",)))
        rig.until(lambda: set().union(*unions()) == usual | {"10.9.0.0/16"}, what="the net")
        felix.put(IPSetDelta("s:008", added=(), removed=("10.0.0.7",)))
        rig.until(lambda: "10.0.0.7" not in set().union(*unions()), what="its end")
        # One policy less in the middle, and its set.
        fewer = CROWD[:30] + CROWD[31:]
        felix.put(*list(crowd(fewer))[-1:], PolicyRemove(CROWD[30]), IPSetRemove("s:030"))
        rig.until(lambda: "10.0.0.30" not in table(), what="the policy's end")
        felix.resync()
        assert felix.dataplane.status().failures == ()
        churned = table()
    now = {"s007": ("10.9.0.0/16",), "s008": ("10.0.0.8",)}
    with rig.Rig(**NATIVE).start(*NODES, *rig.PROFILES, *crowd(fewer, **now)) as felix:
        assert targets(felix)[0].rules_written == 0
        assert table() == churned
        felix.put(*list(crowd(CROWD[:5]))[-1:], *(PolicyRemove(each) for each in fewer[5:]))
        rig.until(lambda: not unions(), what="no unions")
        assert felix.dataplane.status().failures == ()


def test_metrics_tell_what_is_in_the_table():
    with rig.Rig(**NATIVE).start(*world("10.0.0.1")) as felix:
        felix.put(IPSetDelta(SET, added=("10.0.0.2",), removed=()))
        rig.until(lambda: members() == {"10.0.0.1", "10.0.0.2"}, what="the member")
        found = {
            sample.name: sample.value
            for metric in nft_metrics.of_nftables(targets(felix))
            for sample in metric.samples
            if sample.labels == {"ip_version": "4"}
        }
        kinds = re.findall(r"^\t(chain|map|set) ", table(), re.MULTILINE)
        assert found["felix_nft_chains"] == kinds.count("chain")
        assert found["felix_nft_maps"] == kinds.count("map")
        assert found["felix_nft_sets"] == kinds.count("set")
        assert found["felix_nft_rules"] == len(re.findall(r" comment \"cali:", table()))
        assert found["felix_nft_transaction_seconds_count"] >= 2
        assert found["felix_nft_transaction_seconds_sum"] > 0
        assert found["felix_nft_refusals"] == 0


def test_a_kernel_that_lacks_something_is_told_by_name(monkeypatch):
    monkeypatch.setattr(
        features,
        "_RULES",
        (*features._RULES, ("time travel", "filter", "-m mark --mark 0x1/0x1 --jump nowhere")),
    )
    assert [text.partition(":")[0] for text in features.missing((4,))] == ["IPv4 time travel"]
    with pytest.raises(NftablesUnfit, match=r"lacks what nftables needs .IPv4 time travel: No such file"):
        choose("Enabled", (4,))
    rig.sh("nft add table ip kube-proxy; nft add chain ip kube-proxy services")
    chosen = choose("Auto", (4,))
    assert not chosen.native
    assert "time travel" in chosen.note
    with Channel() as channel:
        before = channel.generation()
        features.missing((4,))
        assert channel.generation() == before
    waiting = rig.Rig(**NATIVE)
    waiting.dataplane = rig.Dataplane(waiting.config)
    stop = threading.Event()
    thread = threading.Thread(target=waiting.dataplane.run, args=(stop,))
    thread.start()
    rig.until(lambda: waiting.dataplane.status().failures, what="the reason")
    assert "time travel" in waiting.dataplane.status().failures[0].reason
    assert not waiting.dataplane.status().started
    stop.set()
    thread.join(12)
    assert not thread.is_alive()
