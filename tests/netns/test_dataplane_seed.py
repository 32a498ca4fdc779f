"""The node of the walkthrough: IPIP, two profiles, one pod."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import dataplane_rig as rig

from pycalico.calc.messages import HostMetadataUpdate, IPPoolUpdate, PolicyID, PolicyLists, PolicyUpdate, Rule

pytestmark = pytest.mark.netns

DATA = Path(__file__).parents[1] / "golden" / "data" / "felix-vectors.json"
SEED = next(v for v in json.loads(DATA.read_text())["vectors"] if v["id"] == "hash-seed-tw")
IPIP = {"ipip": True, "ipip_tunnel_address": "172.16.158.0"}
NODES = (
    HostMetadataUpdate("k8s-w1", "192.168.10.101"),
    HostMetadataUpdate("k8s-w0", "192.168.20.100"),
    IPPoolUpdate("172.16.0.0/16", nat_outgoing=True, ipip_mode="Always"),
)
POD = "calibd2348b4f67"


@pytest.fixture(params=["legacy", "nft"])
def backend(request):
    return request.param


@pytest.fixture(autouse=True)
def _namespace():
    with rig.namespace():
        rig.host()
        yield


def test_pod_of_the_seed(backend):
    with rig.Rig(iptables_backend=backend, **IPIP).start(*NODES) as felix:
        before = {table: rig.count(table, backend) for table in rig.TABLES}
        rig.veth(POD, "p0")
        felix.put(*rig.PROFILES, rig.workload("pod1", POD, "172.16.158.2/32"))
        rig.until(lambda: rig.chain("filter", f"cali-tw-{POD}", backend), what="the pod's chain")
        rig.until(lambda: "172.16.158.2" in rig.sh("ip route"), what="the pod's route")
        assert rig.hashes(rig.chain("filter", f"cali-tw-{POD}", backend)) == SEED["expect"]
        after = {table: rig.count(table, backend) for table in rig.TABLES}
        # as the walkthrough counts (iptables -S | grep cali): 24 rules and 6 new chains
        assert after["filter"] - before["filter"] == 30
        assert after["nat"] == before["nat"]
        assert "172.16.158.2 scope link" in rig.sh(f"ip route show dev {POD}")
        assert f"dev {POD} lladdr ee:ee:ee:ee:ee:ee PERMANENT" in rig.sh("ip neigh show nud permanent")
        assert rig.sh(f"cat /proc/sys/net/ipv4/conf/{POD}/proxy_arp").strip() == "1"
        assert rig.sh("cat /proc/sys/net/ipv4/ip_forward").strip() == "1"
        rig.until(lambda: felix.statuses.get(rig.workload("pod1", POD).id) == "up", what="status up")


def test_restart_adopts_everything(backend):
    rig.veth(POD, "p0")
    messages = (*NODES, *rig.PROFILES, rig.workload("pod1", POD, "172.16.158.2/32"))
    with rig.Rig(iptables_backend=backend, **IPIP).start(*messages) as felix:
        assert felix.inputs() == 4
    before = [rig.save(table, backend) for table in rig.TABLES]
    assert before[3]
    with rig.Rig(iptables_backend=backend, **IPIP).start(*messages) as felix:
        assert felix.inputs() == 0
        sets = felix.dataplane.assembly.sets[0].target
        assert sets.lines_written == 0
        felix.resync()
        assert felix.inputs() == 0
    assert [rig.save(table, backend) for table in rig.TABLES] == before


def test_tampering_is_repaired_and_foreign_rules_are_kept(backend):
    rig.veth(POD, "p0")
    ipt = f"iptables-{backend}"
    rig.sh(
        f"{ipt} -A FORWARD -s 9.9.9.9 -j DROP; {ipt} -N mine; {ipt} -A mine -j RETURN; {ipt} -A INPUT -j mine"
    )
    messages = (*NODES, *rig.PROFILES, rig.workload("pod1", POD, "172.16.158.2/32"))
    with rig.Rig(iptables_backend=backend, **IPIP).start(*messages) as felix:
        before = [rig.save(table, backend) for table in rig.TABLES]
        chain = f"cali-tw-{POD}"
        rig.sh(f"{ipt} -R {chain} 2 -j ACCEPT; {ipt} -A {chain} -j ACCEPT")
        rig.sh(f"{ipt} -I FORWARD -s 8.8.8.8 -j ACCEPT; {ipt} -A FORWARD -s 7.7.7.7 -j ACCEPT")
        rig.sh(f"{ipt} -D INPUT -m comment --comment cali:Cz_u1IQiXIMmKD4c -j cali-INPUT; {ipt} -N cali-junk")
        rig.sh("ipset create cali40junk hash:ip; ipset del cali40masq-ipam-pools 172.16.0.0/16")
        felix.resync()
        forward = rig.chain("filter", "FORWARD", backend)
        assert "wUHhoiAYhphO9Mso" in forward[0]
        assert [line.split()[3] for line in forward[1:4]] == ["8.8.8.8/32", "9.9.9.9/32", "7.7.7.7/32"]
        assert rig.hashes(forward[4:]) == ["S93hcgKJrXEqnTfs", "mp77cMpurHhyjLrM"]
        rig.sh(f"{ipt} -D FORWARD -s 8.8.8.8 -j ACCEPT; {ipt} -D FORWARD -s 7.7.7.7 -j ACCEPT")
        assert [rig.save(table, backend) for table in rig.TABLES] == before
        assert "172.16.0.0/16" in rig.sh("ipset list cali40masq-ipam-pools")
        rig.until(lambda: "cali40junk" not in rig.sh("ipset list -name"), what="the stray set's removal")


def test_policy_change_is_quick_and_last_state_wins(backend):
    rig.veth(POD, "p0")
    messages = (*NODES, *rig.PROFILES)
    tiers = (PolicyLists("default", ingress=("default/default.p",)),)
    identity = PolicyID("default", "default/default.p")

    def policy(port):
        from pycalico.calc.messages import PortRange

        rule = Rule("allow", protocol="tcp", dst_ports=(PortRange(port, port),))
        return PolicyUpdate(identity, (rule,), (), "all()")

    pod = rig.workload("pod1", POD, "172.16.158.2/32", tiers=tiers)
    with rig.Rig(iptables_backend=backend, **IPIP).start(*messages, policy(1), pod) as felix:
        import time

        worst = 0.0
        for port in range(2, 7):
            started = time.monotonic()
            felix.put(policy(port))
            rig.until(
                lambda port=port: (
                    f"--dports {port} "
                    in "\n".join(rig.chain("filter", "cali-pi-default/default.p", backend))
                ),
                what="the new rule",
            )
            worst = max(worst, time.monotonic() - started)
        assert worst < 0.5
        felix.put(*(policy(port) for port in range(100, 300)))
        felix.settle()
        assert "--dports 299 " in rig.chain("filter", "cali-pi-default/default.p", backend)[0]
