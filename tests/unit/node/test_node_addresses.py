import ipaddress

import pytest

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.node import Node, NodeBGPSpec, NodeSpec
from pycalico.datastore.memory import MemoryClient
from pycalico.node import addresses, startup
from pycalico.node.autodetect import Interface, Surroundings
from pycalico.node.fatal import Fatal


def around(*pairs):
    found = [Interface(name, [ipaddress.ip_interface(text)]) for name, text in pairs]
    return Surroundings(found, lambda *_: "")


HOST = around(("eth0", "1.2.3.4/24"), ("eth1", "2001:db8::4/120"))


def node(v4="", v6="", name="n1"):
    return Node(
        metadata=ObjectMeta(name=name), spec=NodeSpec(bgp=NodeBGPSpec(ipv4_address=v4, ipv6_address=v6))
    )


@pytest.mark.parametrize(
    ("environ", "stored", "v4", "v6"),
    [
        ({}, node(), "1.2.3.4/24", ""),
        ({}, node("9.9.9.9/24"), "9.9.9.9/24", ""),
        ({"IP": "none"}, node("9.9.9.9/24"), "9.9.9.9/24", ""),
        ({"IP": "autodetect"}, node("9.9.9.9/24"), "1.2.3.4/24", ""),
        ({"IP": "1.2.3.4"}, node(), "1.2.3.4/24", ""),
        ({"IP": "1.2.3.5"}, node(), "1.2.3.5/32", ""),
        ({"IP": "192.0.2.2/24"}, node(), "192.0.2.2/24", ""),
        ({"IP6": "autodetect"}, node(), "1.2.3.4/24", "2001:db8::4/120"),
        ({"IP6": ""}, node(v6="2001:db8::9/64", v4="1.2.3.4/24"), "1.2.3.4/24", "2001:db8::9/64"),
        (
            {"IP": "autodetect", "IP_AUTODETECTION_METHOD": "interface=nosuch"},
            node("9.9.9.9/24"),
            "9.9.9.9/24",
            "",
        ),
    ],
)
def test_which_address(environ, stored, v4, v6):
    before = (stored.spec.bgp.ipv4_address, stored.spec.bgp.ipv6_address)
    changed = addresses.configure(stored, environ, HOST)
    assert (stored.spec.bgp.ipv4_address, stored.spec.bgp.ipv6_address) == (v4, v6)
    assert changed == (before != (v4, v6))


def test_a_new_link_does_not_move_the_node():
    stored = node("1.2.3.4/24")
    with_vpn = around(("wg7", "10.8.0.2/24"), ("eth0", "1.2.3.4/24"))
    assert not addresses.configure(stored, {"IP": "autodetect"}, with_vpn)
    renumbered = around(("wg7", "10.8.0.2/24"), ("eth0", "1.2.3.9/24"))
    assert addresses.configure(stored, {"IP": "autodetect"}, renumbered)
    assert stored.spec.bgp.ipv4_address == "1.2.3.9/24", "the node stays in its network"
    without = around(("wg7", "10.8.0.2/24"))
    assert addresses.configure(stored, {"IP": "autodetect"}, without)
    assert stored.spec.bgp.ipv4_address == "10.8.0.2/24"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"IP": "bad"}, "Environment does not contain a valid IPv4 address: IP=bad"),
        ({"IP": "fd00::1"}, "Environment does not contain a valid IPv4 address: IP=fd00::1"),
        ({"IP": "none"}, "No IPv4 or IPv6 addresses configured or detected, required for Calico networking"),
        ({"IP": "autodetect", "IP_AUTODETECTION_METHOD": "bogus"}, "Invalid IP autodetection method: bogus"),
    ],
)
def test_what_ends_start_up(environ, message):
    with pytest.raises(Fatal) as caught:
        addresses.configure(node(), environ, HOST)
    assert str(caught.value) == message


def test_an_address_in_use_is_refused_and_the_detected_one_taken_off(caplog):
    client = MemoryClient()
    client.create(node("1.2.3.4/24", name="t1"))
    client.create(node("9.9.9.9/24"))
    own = client.get(Node, "n1")
    with pytest.raises(Fatal):
        startup.settle_addresses(client, own, {"IP": "autodetect"}, HOST)
    assert "Calico node 't1' is already using the IPv4 address 1.2.3.4." in caplog.text
    assert client.get(Node, "n1").spec.bgp is None
    assert startup.settle_addresses(
        client, client.get(Node, "n1"), {"IP": "autodetect", "DISABLE_NODE_IP_CHECK": "true"}, HOST
    )


def test_clearing():
    both = node("1.2.3.4/24", "2001:db8::4/120")
    assert addresses.clear(both, {4})
    assert both.spec.bgp == NodeBGPSpec(ipv6_address="2001:db8::4/120")
    assert addresses.clear(both, {4, 6})
    assert both.spec.bgp is None
    assert not addresses.clear(both, {4, 6})
