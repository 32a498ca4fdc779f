import ipaddress

import pytest

from pycalico.node import autodetect
from pycalico.node.autodetect import BadMethod, Interface, Surroundings, Undetected, Unreachable


def interface(name, *addresses):
    return Interface(name, [ipaddress.ip_interface(text) for text in addresses])


#: The highest index first.
MACHINE = [
    interface("calie5f", "169.254.1.1/32"),
    interface("veth1", "172.17.0.2/16"),
    interface("wg0", "10.8.0.2/24"),
    interface("eth1", "fe80::1/64", "192.0.2.9/24", "2001:db8::9/64"),
    interface("eth0", "192.168.77.10/24"),
    interface("lo", "127.0.0.1/8", "::1/128"),
]


def around(source=None, internal=None):
    def towards(destination, family):
        if source is None:
            raise Unreachable(f"{destination}: no route")
        return source

    return Surroundings(MACHINE, towards, internal)


def first(method, family=4, **kwargs):
    found = autodetect.candidates(method, family, around(**kwargs))[0]
    return f"{found.interface} {found.address}"


@pytest.mark.parametrize(
    ("method", "family", "found"),
    [
        ("", 4, "wg0 10.8.0.2/24"),
        ("first-found", 4, "wg0 10.8.0.2/24"),
        ("first-found", 6, "eth1 2001:db8::9/64"),
        ("interface=^eth.*", 4, "eth1 192.0.2.9/24"),
        ("interface=eth.*", 4, "veth1 172.17.0.2/16"),
        ("interface=th0, nosuch", 4, "eth0 192.168.77.10/24"),
        ("interface=veth.*", 4, "veth1 172.17.0.2/16"),
        ("skip-interface=wg.*,eth1", 4, "eth0 192.168.77.10/24"),
        ("cidr=192.168.0.0/16, 10.99.0.0/16", 4, "eth0 192.168.77.10/24"),
    ],
)
def test_methods(method, family, found):
    assert first(method, family) == found


def test_can_reach_takes_the_interface_of_the_sockets_address():
    assert first("can-reach=8.8.8.8", source="192.168.77.10") == "eth0 192.168.77.10/24"
    with pytest.raises(Undetected, match="this machine"):
        first("can-reach=127.0.0.1", source="127.0.0.1")
    with pytest.raises(Undetected, match="no route"):
        first("can-reach=8.8.8.8")


def test_kubernetes_internal_ip():
    assert first("kubernetes-internal-ip", internal=["2001:db8::9", "192.0.2.9"]) == "eth1 192.0.2.9/24"
    with pytest.raises(Undetected):
        first("kubernetes-internal-ip", internal=["192.0.2.77"])
    with pytest.raises(
        BadMethod, match="Cannot use method 'kubernetes-internal-ip' when not running on a Kubernetes cluster"
    ):
        first("kubernetes-internal-ip")


@pytest.mark.parametrize("method", ["bogus", "interface=(", "skip-interface=(", "cidr=nonsense", "interface"])
def test_bad_methods(method):
    with pytest.raises(BadMethod, match="Invalid IP autodetection method"):
        first(method)


def test_nothing_found_says_how_it_looked():
    with pytest.raises(Undetected) as caught:
        first("interface=nosuch.*")
    assert str(caught.value) == (
        "Unable to auto-detect an IPv4 address using interface regexes [nosuch.*]: no valid host interfaces found"
    )


@pytest.mark.parametrize(
    ("name", "excluded"),
    [
        ("veth12", True),
        ("vxlan.calico", True),
        ("vxlan-v6.calico", True),
        ("wireguard.cali", True),
        ("wg-v6.cali", True),
        ("nodelocaldns", True),
        ("podman0", True),
        ("br-1f2e", True),
        ("docker0", True),
        ("ibmveth2", False),
        ("eth0", False),
    ],
)
def test_excluded_names(name, excluded):
    only = Surroundings([interface(name, "10.1.1.1/24")], lambda *_: "")
    if excluded:
        with pytest.raises(Undetected):
            autodetect.candidates("", 4, only)
    else:
        assert autodetect.candidates("", 4, only)
