"""Routes, links, neighbours, settings and statuses, in the real kernel."""

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import dataplane_rig as rig

from pycalico.calc.messages import (
    HostEndpointUpdate,
    HostMetadataUpdate,
    IPSetDelta,
    IPSetRemove,
    IPSetType,
    IPSetUpdate,
    NATPair,
    PolicyID,
    PolicyLists,
    PolicyRemove,
    PolicyUpdate,
    PoolType,
    RouteRemove,
    RouteType,
    RouteUpdate,
    Rule,
    VTEPRemove,
    VTEPUpdate,
    WorkloadEndpointRemove,
)
from pycalico.dataplane.engine import DataplaneError

pytestmark = pytest.mark.netns

VXLAN = {"vxlan": True, "vxlan_tunnel_address": "172.16.34.0"}
OWN = VTEPUpdate("k8s-w1", "66:74:91:32:7c:04", "172.16.34.0", "192.168.10.101")
NEAR = VTEPUpdate("k8s-w2", "66:55:c4:6b:81:ed", "172.16.184.0", "192.168.10.102")
FAR = VTEPUpdate("k8s-w0", "66:8d:da:b4:58:1a", "172.16.158.0", "192.168.20.100")


def block(dst, node, address, **more):
    return RouteUpdate(dst, RouteType.REMOTE_WORKLOAD, dst_node_name=node, dst_node_ip=address, **more)


BLOCKS = (
    block("172.16.184.0/24", "k8s-w2", "192.168.10.102", pool_type=PoolType.VXLAN, same_subnet=True),
    block("172.16.158.0/24", "k8s-w0", "192.168.20.100", pool_type=PoolType.VXLAN),
    RouteUpdate("172.16.34.0/24", RouteType.LOCAL_WORKLOAD, PoolType.VXLAN, "k8s-w1", "192.168.10.101"),
)


def routes(what=""):
    return sorted(line.strip() for line in rig.sh(f"ip route show {what}").splitlines())


@pytest.fixture(autouse=True)
def _namespace():
    with rig.namespace():
        rig.host()
        yield


def test_vxlan_comes_changes_and_goes():
    with rig.Rig(**VXLAN).start(OWN, NEAR, FAR, *BLOCKS) as felix:
        rig.until(lambda: len(routes("proto 80")) == 2, what="cluster routes")
        rig.until(lambda: "172.16.158.0/24" in rig.sh("ip route"), what="the tunnel's route")
        assert routes() == [
            "172.16.158.0/24 via 172.16.158.0 dev vxlan.calico onlink",
            "172.16.184.0/24 via 192.168.10.102 dev eth0 proto 80 onlink",
            "192.168.10.0/24 dev eth0 proto kernel scope link src 192.168.10.101",
            "blackhole 172.16.34.0/24 proto 80",
        ]
        link = rig.sh("ip -d -o link show vxlan.calico")
        assert "mtu 1450" in link
        assert "vxlan id 4096 local 192.168.10.101 dev eth0" in link
        assert "dstport 4789 nolearning" in link
        assert "66:74:91:32:7c:04" in link
        assert "172.16.34.0/32" in rig.sh("ip -o addr show vxlan.calico")
        assert sorted(rig.sh("bridge fdb show dev vxlan.calico").split("\n"))[1:] == [
            "66:55:c4:6b:81:ed dst 192.168.10.102 self permanent",
            "66:8d:da:b4:58:1a dst 192.168.20.100 self permanent",
        ]
        assert "192.168.10.101" not in rig.sh("ipset list cali40all-vxlan-net")
        felix.put(VTEPUpdate("k8s-w0", "66:8d:da:b4:58:1b", "172.16.158.9", "192.168.20.200"))
        rig.until(lambda: "via 172.16.158.9" in rig.sh("ip route"), what="the new gateway")
        rig.until(
            lambda: "66:8d:da:b4:58:1b dst 192.168.20.200" in rig.sh("bridge fdb show dev vxlan.calico")
        )
        felix.settle()
        assert "66:8d:da:b4:58:1a" not in rig.sh(
            "bridge fdb show dev vxlan.calico; ip neigh show nud permanent"
        )
        felix.put(RouteRemove("172.16.184.0/24"), VTEPRemove("k8s-w2"))
        rig.until(
            lambda: "192.168.10.102" not in rig.sh("ip route; bridge fdb show dev vxlan.calico"),
            what="removal",
        )
        rig.sh("ip link del vxlan.calico")
        rig.until(
            lambda: "via 172.16.158.9 dev vxlan.calico" in rig.sh("ip route"), what="the device's return"
        )
        rig.until(
            lambda: "dst 192.168.20.200" in rig.sh("bridge fdb show dev vxlan.calico"),
            what="its entries' return",
        )
    with rig.Rig().start():
        rig.until(lambda: "vxlan.calico" not in rig.sh("ip link"), what="the device's removal")
        rig.until(lambda: not routes("proto 80"), what="the routes' removal")


def test_cluster_routes_without_overlay():
    node = HostMetadataUpdate("k8s-w1", "192.168.10.101")
    blocks = (
        block("172.16.184.0/24", "k8s-w2", "192.168.10.102", pool_type=PoolType.NO_ENCAP, same_subnet=True),
        RouteUpdate(
            "172.16.34.0/24", RouteType.LOCAL_WORKLOAD, PoolType.NO_ENCAP, "k8s-w1", "192.168.10.101"
        ),
        RouteUpdate(
            "172.16.35.7/32", RouteType.LOCAL_WORKLOAD, PoolType.NO_ENCAP, "k8s-w1", "192.168.10.101"
        ),
    )
    # What a routing daemon left for the same block gives way.
    rig.sh("ip route add 172.16.184.0/24 via 192.168.10.77 proto 12")
    with rig.Rig(program_cluster_routes=True).start(node, *blocks):
        rig.until(lambda: len(routes("proto 80")) == 2, what="cluster routes")
        assert "172.16.184.0/24 via 192.168.10.102 dev eth0" in rig.sh("ip route show proto 80")
        assert not routes("proto 12")
        rig.sh("ip route del 172.16.184.0/24; ip route del 172.16.34.0/24")
        started = time.monotonic()
        rig.until(lambda: len(routes("proto 80")) == 2, what="repair after notice")
        assert time.monotonic() - started < 1


POD = "cali1f7bbbd982a"


def test_routes_of_workloads():
    rig.veth(POD, "p0")
    rig.veth("cali2", "p1")
    rig.sh(f"ip route add 10.9.9.9/32 dev {POD}; ip route add 10.8.8.8/32 dev eth0")
    pod = rig.workload("a", POD, "172.16.0.10/32")
    with rig.Rig(route_grace_s=2.5).start(*rig.PROFILES, pod) as felix:
        rig.until(lambda: "172.16.0.10" in rig.sh("ip route"), what="the route")
        assert "10.9.9.9" in rig.sh("ip route"), "a fresh link keeps what CNI may have set"
        rig.until(
            lambda: "10.9.9.9" not in rig.sh("ip route"), what="the stray route's removal after the grace"
        )
        assert "10.8.8.8" in rig.sh("ip route"), "routes of other links are not ours"
        rig.sh(f"ip route del 172.16.0.10 dev {POD}")
        rig.until(lambda: "172.16.0.10" in rig.sh("ip route"), 1, "repair after notice")
        rig.sh(f"ip route add 10.7.7.7/32 dev {POD}")
        rig.until(lambda: "10.7.7.7" not in rig.sh("ip route"), 1, "removal of a stray route after notice")
        felix.put(rig.workload("b", "cali2", "172.16.0.10/32"))
        felix.settle()
        assert f"172.16.0.10 dev {POD}" in rig.sh("ip route"), "of two claims the lower interface wins"
        felix.put(WorkloadEndpointRemove(pod.id))
        rig.until(lambda: "172.16.0.10 dev cali2" in rig.sh("ip route"), what="the other claim's turn")
        felix.put(rig.workload("b", "cali2", "172.16.0.10/32", state="inactive"))
        rig.until(lambda: "172.16.0.10" not in rig.sh("ip route"), what="removal while down")
        rig.until(lambda: "Endpoint admin disabled" in rig.chain("filter", "cali-tw-cali2")[0], what="denial")


def test_links_that_flap_and_come_late():
    pod = rig.workload("a", POD, "172.16.0.10/32")
    with rig.Rig().start(*rig.PROFILES, pod) as felix:
        rig.until(lambda: felix.statuses.get(pod.id) == "down", what="status down")
        rig.veth(POD, "p0")
        rig.until(lambda: "172.16.0.10" in rig.sh("ip route"), 2, "the late link's route")
        rig.until(lambda: felix.statuses.get(pod.id) == "up", what="status up")
        for _ in range(5):
            rig.sh(f"ip link set {POD} down; ip link set {POD} up")
        rig.until(lambda: "172.16.0.10" in rig.sh("ip route"), 2, "the route after flapping")
        rig.sh(f"ip link del {POD}")
        rig.until(lambda: felix.statuses.get(pod.id) == "down", what="status down again")
        rig.veth(POD, "p0")
        rig.until(lambda: "172.16.0.10" in rig.sh("ip route"), 2, "the new link's route")
        rig.until(
            lambda: rig.sh(f"cat /proc/sys/net/ipv4/conf/{POD}/proxy_arp").strip() == "1", what="its settings"
        )
        rig.until(lambda: POD in rig.sh("ip neigh show nud permanent"), what="its neighbour")
        felix.put(WorkloadEndpointRemove(pod.id))
        rig.until(lambda: felix.statuses.get(pod.id, 0) is None, what="status gone")


def test_both_families():
    rig.sh("ip -6 addr add fd10::1/64 dev eth0 nodad")
    rig.veth(POD, "p0")
    pod = rig.workload(
        "a", POD, "172.16.0.10/32", "fd20::10/128", ipv6_nats=(NATPair("fd30::1", "fd20::10"),)
    )
    members = IPSetUpdate("s:abc", IPSetType.NET, frozenset({"10.0.0.0/8", "10.1.1.1/32", "fd00::1/128"}))
    with rig.Rig(ipv6=True, floating_ips=True).start(*rig.PROFILES, members, pod) as felix:
        rig.until(lambda: "fd20::10" in rig.sh("ip -6 route"), what="the IPv6 route")
        assert "fd30::1 dev" in rig.sh("ip -6 route")
        assert rig.sh(f"cat /proc/sys/net/ipv6/conf/{POD}/proxy_ndp").strip() == "1"
        assert rig.sh("cat /proc/sys/net/ipv6/conf/all/forwarding").strip() == "1"
        assert rig.chain("nat", "cali-fip-dnat") == []
        assert "fd30::1/128" in rig.sh("ip6tables-legacy-save -t nat")
        assert set(rig.sh("ipset save cali40s:abc").split()) >= {"10.0.0.0/8", "10.1.1.1"}
        assert "fd00::1" in rig.sh("ipset save cali60s:abc").split()
        felix.put(IPSetDelta("s:abc", frozenset({"fd00::2/128", "11.0.0.0/8"}), frozenset({"10.0.0.0/8"})))
        rig.until(lambda: "fd00::2" in rig.sh("ipset save cali60s:abc").split(), what="the member")
        rig.until(
            lambda: "10.0.0.0/8" not in rig.sh("ipset save cali40s:abc").split(), what="the member's removal"
        )
        before = rig.save("filter", stem="ip6tables")
        felix.resync()
        assert rig.save("filter", stem="ip6tables") == before
        routes_before = rig.sh("ip -6 route")
        felix.resync()
        assert rig.sh("ip -6 route") == routes_before


def test_set_goes_after_the_rule_that_names_it():
    rig.veth(POD, "p0")
    identity = PolicyID("default", "default/default.p")
    policy = PolicyUpdate(identity, (Rule("allow", src_ip_set_ids=("s:abc",)),), (), "all()")
    tiers = (PolicyLists("default", ingress=(identity.name,)),)
    members = IPSetUpdate("s:abc", IPSetType.NET, frozenset({"10.0.0.0/8"}))
    pod = rig.workload("a", POD, "172.16.0.10/32", tiers=tiers)
    with rig.Rig().start(*rig.PROFILES, members, policy, pod) as felix:
        assert "match-set cali40s:abc src" in "\n".join(rig.rules("filter"))
        felix.put(rig.workload("a", POD, "172.16.0.10/32"), PolicyRemove(identity), IPSetRemove("s:abc"))
        rig.until(lambda: "cali40s:abc" not in rig.sh("ipset list -name"), what="the set's removal")
        assert "cali40s:abc" not in "\n".join(rig.rules("filter"))
        assert not felix.dataplane.status().failures


def test_host_endpoints_follow_addresses():
    hep = HostEndpointUpdate("h", "", expected_ipv4=("10.77.0.1",))
    with rig.Rig().start(*rig.PROFILES, hep) as felix:
        rig.until(lambda: felix.statuses.get("h") == "error", what="no match yet")
        rig.sh("ip addr add 10.77.0.1/24 dev eth0")
        rig.until(lambda: rig.chain("filter", "cali-fh-eth0"), 2, "the endpoint's chain")
        rig.until(lambda: felix.statuses.get("h") == "up", what="status up")
        rig.until(lambda: "10.77.0.1" in rig.sh("ipset list cali40this-host"), what="this host's set")
        rig.sh("ip addr del 10.77.0.1/24 dev eth0")
        rig.until(lambda: not rig.chain("filter", "cali-fh-eth0"), 2, "the chain's removal")


def test_unusable_policy_harms_nobody_else():
    rig.veth(POD, "p0")
    names = ("default/default.bad", "default/default.good")
    bad = PolicyUpdate(PolicyID("default", names[0]), (Rule("allow", src_nets=("10.0.0.0/33",)),), (), "a")
    good = PolicyUpdate(PolicyID("default", names[1]), (Rule("allow", src_nets=("10.0.0.0/8",)),), (), "b")
    odd = PolicyUpdate(PolicyID("default", "default/default.odd"), (Rule("explode"),), (), "c")
    pod = rig.workload("a", POD, "172.16.0.10/32", tiers=(PolicyLists("default", ingress=names),))
    with rig.Rig().start(*rig.PROFILES, odd, bad, good, pod) as felix:
        assert "10.0.0.0/8" in rig.chain("filter", f"cali-pi-{names[1]}")[0]
        assert rig.chain("filter", f"cali-pi-{names[0]}")[0].endswith("-j DROP")
        (failure,) = felix.dataplane.status().failures
        assert names[0] in failure.key
        assert "33" in failure.reason
        fixed = PolicyUpdate(
            PolicyID("default", names[0]), (Rule("allow", src_nets=("10.0.0.0/30",)),), (), "a"
        )
        felix.put(fixed)
        rig.until(
            lambda: "10.0.0.0/30" in rig.chain("filter", f"cali-pi-{names[0]}")[0], what="the mended policy"
        )
        rig.until(lambda: not felix.dataplane.status().failures, what="no failures")


def test_missing_iptables_is_an_error(tmp_path, monkeypatch):
    for program in ("ip", "ipset", "sh"):
        (tmp_path / program).symlink_to(rig.sh(f"command -v {program}").strip())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataplaneError, match="not installed or not in PATH"), rig.Rig() as felix:
        felix.start()


def test_mtu_file_and_status_files(tmp_path):
    rig.veth(POD, "p0")
    rig.sh("ip link set eth0 mtu 1400")
    pod = rig.workload("a", POD, "172.16.0.10/32")
    settings = {
        "mtu_file": str(tmp_path / "deep" / "mtu"),
        "endpoint_status_path": str(tmp_path / "run"),
        **VXLAN,
    }
    with rig.Rig(**settings).start(*rig.PROFILES, pod) as felix:
        assert (tmp_path / "deep" / "mtu").read_text() == "1350"
        status = tmp_path / "run" / "endpoint-status" / "k8s default%2Fa eth0"
        rig.until(status.exists, what="the status file")
        felix.put(WorkloadEndpointRemove(pod.id))
        rig.until(lambda: not status.exists(), what="its removal")


def test_connections_of_an_address_are_forgotten():
    rig.veth(POD, "p0")
    pod = rig.workload("a", POD, "172.16.0.10/32")
    entry = "-p tcp --sport 1 --dport 2 --state ESTABLISHED --timeout 600"
    with rig.Rig().start(*rig.PROFILES, pod) as felix:
        rig.until(lambda: "172.16.0.10" in rig.sh("ip route"), what="the route")
        rig.sh(
            f"conntrack -I -s 172.16.0.10 -d 10.0.0.1 {entry}; conntrack -I -s 10.0.0.2 -d 172.16.0.10 {entry}"
        )
        rig.sh(f"conntrack -I -s 172.16.0.11 -d 10.0.0.1 {entry}")
        assert rig.sh("conntrack -L 2>/dev/null").count("172.16.0.10") == 4
        felix.put(WorkloadEndpointRemove(pod.id))
        rig.until(lambda: "172.16.0.10" not in rig.sh("conntrack -L 2>/dev/null"), what="no connection")
        assert "172.16.0.11" in rig.sh("conntrack -L 2>/dev/null")


def test_ipip_device_and_its_cluster_routes():
    # This kernel may lack the tunnel's module: a plain link stands in for the device, which is adopted by name.
    rig.sh("ip link add tunl0 type veth peer name t1; ip link set t1 up; ip addr add 10.66.0.1/24 dev tunl0")
    settings = {"ipip": True, "ipip_tunnel_address": "172.16.34.0", "program_cluster_routes": True}
    far = block("172.16.158.0/24", "k8s-w0", "192.168.20.100", pool_type=PoolType.IPIP)
    near = block("172.16.184.0/24", "k8s-w2", "192.168.10.102", pool_type=PoolType.IPIP, same_subnet=True)
    nodes = (HostMetadataUpdate("k8s-w1", "192.168.10.101"), HostMetadataUpdate("k8s-w0", "192.168.20.100"))
    with rig.Rig(**settings).start(*nodes, far, near):
        rig.until(lambda: len(routes("proto 80")) == 2, what="cluster routes")
        assert routes("proto 80") == [
            "172.16.158.0/24 via 192.168.20.100 dev tunl0 onlink mtu 1480",
            "172.16.184.0/24 via 192.168.10.102 dev eth0",
        ]
        assert rig.sh("ip -o -4 addr show tunl0").count("inet ") == 1
        assert "172.16.34.0/32" in rig.sh("ip -o addr show tunl0")
        assert "mtu 1480" in rig.sh("ip link show tunl0")
        assert "192.168.20.100" in rig.sh("ipset list cali40all-hosts-net")
    with rig.Rig().start():
        rig.until(lambda: "172.16.34.0" not in rig.sh("ip addr show tunl0"), what="the address's removal")


def test_backend_follows_kubelet():
    from pycalico.dataplane.drivers import backend

    assert backend.choose("auto", (4, 6)) == "legacy"
    rig.sh("iptables-nft -A FORWARD -s 9.9.9.9 -j DROP")
    assert backend.choose("auto", (4, 6)) == "nft"
    rig.sh("iptables-legacy -t mangle -N KUBE-KUBELET-CANARY")
    assert backend.choose("auto", (4, 6)) == "legacy"
    rig.sh("ip6tables-nft -t mangle -N KUBE-IPTABLES-HINT")
    assert backend.choose("Auto", (4, 6)) == "nft"
    assert backend.choose("Legacy", (4, 6)) == "legacy"


def test_hundreds_of_foreign_routes_are_left_alone():
    lines = "".join(f"route add 20.{i // 250}.{i % 250}.0/24 dev eth0 proto 12\n" for i in range(500))
    rig.sh(f"printf '{lines}' | ip -batch -")
    with rig.Rig().start(*rig.PROFILES) as felix:
        felix.resync()
        assert len(routes("proto 12")) == 500
