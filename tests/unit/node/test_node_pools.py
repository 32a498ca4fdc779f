import ipaddress

import pytest

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.datastore.memory import MemoryClient
from pycalico.node import pools
from pycalico.node.fatal import Fatal


def spec(family, **environ):
    return next(found.spec for found in pools.wanted(environ, None) if found.family == family)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("", "Never"),
        ("off", "Never"),
        ("Off", "Never"),
        ("Never", "Never"),
        ("always", "Always"),
        ("Always", "Always"),
        ("cross-subnet", "CrossSubnet"),
        ("CrossSubnet", "CrossSubnet"),
    ],
)
def test_modes(text, mode):
    assert spec(4, CALICO_IPV4POOL_IPIP=text).ipip_mode == mode
    assert spec(4, CALICO_IPV4POOL_VXLAN=text).vxlan_mode == mode
    assert spec(6, CALICO_IPV6POOL_VXLAN=text).vxlan_mode == mode


def test_defaults():
    four, six = spec(4), spec(6)
    assert (four.block_size, four.nat_outgoing, four.node_selector, four.disable_bgp_export) == (
        26,
        True,
        "all()",
        False,
    )
    assert (six.block_size, six.nat_outgoing, six.ipip_mode) == (122, False, "Never")
    assert four.allowed_uses == ["Workload", "Tunnel"]
    assert spec(4, CALICO_IPV4POOL_NAT_OUTGOING="false").nat_outgoing is False
    assert spec(6, CALICO_IPV6POOL_NAT_OUTGOING="true").nat_outgoing is True
    assert spec(4, CALICO_IPV4POOL_BLOCK_SIZE="27").block_size == 27
    assert spec(4, CALICO_IPV4POOL_DISABLE_BGP_EXPORT="true").disable_bgp_export is True


@pytest.mark.parametrize(
    "environ",
    [
        {"CALICO_IPV4POOL_CIDR": "172.16.0.0/33"},
        {"CALICO_IPV4POOL_CIDR": "172.16.0.0/27"},
        {"CALICO_IPV4POOL_CIDR": "172.16.0.0/32"},
        {"CALICO_IPV6POOL_CIDR": "fd00::/123"},
        {"CALICO_IPV4POOL_CIDR": "fd00::/48"},
        {"CALICO_IPV6POOL_CIDR": "172.16.0.0/16"},
        {"CALICO_IPV4POOL_IPIP": "sometimes"},
        {"NO_DEFAULT_POOLS": "true", "CALICO_IPV4POOL_CIDR": "172.16.0.0/16"},
        {"NO_DEFAULT_POOLS": "TRUE", "CALICO_IPV6POOL_CIDR": "fd00::/48"},
        {"CALICO_IPV4POOL_NODE_SELECTOR": "has("},
        {"CALICO_IPV6POOL_NODE_SELECTOR": "x =="},
        {"CALICO_IPV4POOL_BLOCK_SIZE": "19"},
        {"CALICO_IPV4POOL_BLOCK_SIZE": "33"},
        {"CALICO_IPV6POOL_BLOCK_SIZE": "115"},
        {"CALICO_IPV6POOL_BLOCK_SIZE": "129"},
    ],
)
def test_what_ends_start_up(environ):
    with pytest.raises(Fatal):
        pools.wanted(environ, None)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({}, {}),
        ({"ClusterConfiguration": "networking:\n  podSubnet: 10.244.0.0/16\n"}, {4: "10.244.0.0/16"}),
        ({"ClusterConfiguration": "  podSubnet: 10.244.0.0/16,10.245.0.0/16"}, {4: "10.244.0.0/16"}),
        (
            {"ClusterConfiguration": '  podSubnet: "10.244.0.0/16,fd00:1::/48"\n'},
            {4: "10.244.0.0/16", 6: "fd00:1::/48"},
        ),
        ({"ClusterConfiguration": "podSubnet: nonsense"}, {}),
    ],
)
def test_kubeadm(config, found):
    assert pools.kubeadm_subnets(config) == found


@pytest.mark.parametrize(
    ("local", "cidr"),
    [
        ([], "192.168.0.0/16"),
        (["192.168.77.0/24"], "172.16.0.0/16"),
        (["192.168.77.0/24", "172.16.3.0/24"], "172.17.0.0/16"),
        (["192.168.0.0/16", "172.16.0.0/12"], "192.168.0.0/16"),
        (["fd00::/64"], "192.168.0.0/16"),
    ],
)
def test_default_cidr(local, cidr):
    assert pools.default_v4_cidr([ipaddress.ip_network(text) for text in local]) == cidr


def test_random_ula():
    first, second = (ipaddress.ip_network(pools.random_v6_cidr()) for _ in range(2))
    assert first != second
    assert first.prefixlen == 48
    assert first.subnet_of(ipaddress.ip_network("fd00::/8"))


def test_a_family_with_a_pool_gets_no_other():
    client = MemoryClient()
    client.create(IPPool(metadata=ObjectMeta(name="mine"), spec=IPPoolSpec(cidr="10.0.0.0/16")))
    wanted = pools.wanted({}, None)
    pools.ensure(client, wanted, [], ipv6=True)
    pools.ensure(client, wanted, [], ipv6=True)
    assert [pool.metadata.name for pool in client.list(IPPool).items] == ["default-ipv6-ippool", "mine"]
    assert pools.wanted({"NO_DEFAULT_POOLS": "true"}, None) == []
