"""Routes without IPAM's blocks: each workload's address is one."""

import msgspec

from pycalico.api.kinds import KINDS
from pycalico.calc.graph import CalcGraph
from pycalico.calc.messages import RouteRemove, RouteType, RouteUpdate
from pycalico.calc.settings import CalcSettings
from pycalico.syncer.update import Update


def updates(kind, name, spec, namespace=""):
    body = {"metadata": {"name": name, "namespace": namespace}, "spec": spec}
    value = msgspec.convert(body, KINDS[kind].type)
    return Update(value.key, value)


def workload(node, pod, address):
    spec = {
        "node": node, "orchestrator": "k8s", "endpoint": "eth0", "pod": pod,
        "interfaceName": f"cali{pod}", "ipNetworks": [address],
    }  # fmt: skip
    return updates("WorkloadEndpoint", f"{node}-k8s-{pod}-eth0", spec, "default")


def routes(found):
    return {
        m.dst: m
        for m in found
        if isinstance(m, (RouteUpdate, RouteRemove)) and m.dst.endswith(("/26", "/32"))
    }


def test_workloads_of_all_nodes_take_the_place_of_blocks():
    graph = CalcGraph(CalcSettings(hostname="here", workload_routes=True))
    graph.set_in_sync()
    graph.update(updates("IPPool", "p", {"cidr": "10.1.0.0/16", "vxlanMode": "Always"}))
    block = {"cidr": "10.1.9.0/26", "affinity": "host:there", "allocations": [None] * 64, "attributes": []}
    graph.update(updates("IPAMBlock", "10-1-9-0-26", block))
    graph.update(workload("here", "a", "10.1.0.1/32"))
    graph.update(workload("there", "b", "10.1.9.1/32"))
    found = routes(graph.flush())
    assert {dst: (r.type, r.dst_node_name, r.local_workload) for dst, r in found.items()} == {
        "10.1.0.1/32": (RouteType.LOCAL_WORKLOAD, "here", True),
        "10.1.9.1/32": (RouteType.REMOTE_WORKLOAD, "there", False),
    }
    graph.update(updates("Node", "there", {"bgp": {"ipv4Address": "10.0.0.2/24"}}))
    assert routes(graph.flush())["10.1.9.1/32"].dst_node_ip == "10.0.0.2"
    gone = workload("there", "b", "10.1.9.1/32")
    graph.update(Update(gone.key, None))
    assert isinstance(routes(graph.flush())["10.1.9.1/32"], RouteRemove)


def test_blocks_count_and_remote_workloads_do_not_by_default():
    graph = CalcGraph(CalcSettings(hostname="here"))
    graph.set_in_sync()
    graph.update(workload("there", "b", "10.1.9.1/32"))
    assert not routes(graph.flush())


def test_who_shares_a_subnet_of_either_family_is_near_for_both():
    graph = CalcGraph(CalcSettings(hostname="here"))
    graph.set_in_sync()
    graph.update(updates("IPPool", "p", {"cidr": "10.1.0.0/16", "vxlanMode": "CrossSubnet"}))
    block = {"cidr": "10.1.9.0/26", "affinity": "host:there", "allocations": [None] * 64, "attributes": []}
    graph.update(updates("IPAMBlock", "10-1-9-0-26", block))
    graph.update(
        updates("Node", "here", {"bgp": {"ipv4Address": "10.0.0.1/24", "ipv6Address": "fd00::1/64"}})
    )
    for ipv6, near in (("fd00::2/64", True), ("fd01::2/64", False)):
        there = {"bgp": {"ipv4Address": "10.0.7.2/24", "ipv6Address": ipv6}}
        graph.update(updates("Node", "there", there))
        assert routes(graph.flush())["10.1.9.0/26"].same_subnet is near
