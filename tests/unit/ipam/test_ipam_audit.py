import ipaddress

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import IPAMBlock
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint, WorkloadEndpointSpec
from pycalico.ipam import audit, block


def endpoint(pod, *addresses, container=""):
    spec = WorkloadEndpointSpec(
        node="n1", pod=pod, container_id=container, ip_networks=[f"{a}/32" for a in addresses]
    )
    return WorkloadEndpoint(metadata=ObjectMeta(name=pod, namespace="ns"), spec=spec)


def record(*held) -> IPAMBlock:
    found = block.new(ipaddress.ip_network("10.0.0.0/26"), "n1")
    for ordinal, handle, attributes in held:
        block.assign_address(found.spec, int(ipaddress.ip_address("10.0.0.0")) + ordinal, handle, attributes)
    return found


def pod(name):
    return {"namespace": "ns", "pod": name, "node": "n1"}


POOLS = [IPPool(metadata=ObjectMeta(name="p"), spec=IPPoolSpec(cidr="10.0.0.0/24"))]


def compared(blocks, endpoints):
    found = audit.compare(blocks, endpoints, POOLS)
    return (
        [each.address for each in found.leaked],
        [each.address for each in found.missing],
        [release.address for release, _ in found.mistaken],
    )


def test_what_agrees_is_no_finding():
    blocks = [record((1, "net.c1", pod("a")), (2, None, pod("b")))]
    assert compared(blocks, [endpoint("a", "10.0.0.1", container="c1"), endpoint("b", "10.0.0.2")]) == (
        [],
        [],
        [],
    )


def test_each_kind_is_told_apart():
    blocks = [record((1, "net.c1", pod("gone")), (2, "net.c2", pod("old")), (3, "net.c3", pod("c")))]
    endpoints = [
        endpoint("new", "10.0.0.2", container="c9"),
        endpoint("c", "10.0.0.3", container="c3"),
        endpoint("d", "10.0.0.4", container="c4"),
    ]
    assert compared(blocks, endpoints) == (["10.0.0.1"], ["10.0.0.4"], ["10.0.0.2"])


def test_tunnels_and_addresses_of_no_pool_are_not_its_business():
    blocks = [record((0, "vxlan-tunnel-addr-n1", {"node": "n1", "type": "vxlanTunnelAddress"}))]
    assert compared(blocks, [endpoint("far", "192.168.9.9")]) == ([], [], [])
