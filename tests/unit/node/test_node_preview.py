import ipaddress

from pycalico.node import preview
from pycalico.node.autodetect import Interface, Surroundings

NO_KUBERNETES = "Cannot use method 'kubernetes-internal-ip' when not running on a Kubernetes cluster"


def test_every_method_is_shown_with_what_it_would_take():
    around = Surroundings(
        [
            Interface("wg0", [ipaddress.ip_interface("10.8.0.2/24")]),
            Interface(
                "eth0", [ipaddress.ip_interface("192.168.10.5/24"), ipaddress.ip_interface("fe80::1/64")]
            ),
            Interface("lo", [ipaddress.ip_interface("127.0.0.1/8")]),
        ],
        lambda *_: "192.168.10.5",
    )
    text = preview.as_text(preview.preview(preview.methods_of(around, 4), 4, around))
    assert text.splitlines() == [
        "IPv4 first-found: 10.8.0.2/24 on wg0 (also possible: 192.168.10.5/24 on eth0)",
        f"IPv4 kubernetes-internal-ip: nothing: {NO_KUBERNETES}",
        "IPv4 interface=wg0: 10.8.0.2/24 on wg0",
        "IPv4 cidr=10.8.0.0/24: 10.8.0.2/24 on wg0",
        "IPv4 interface=eth0: 192.168.10.5/24 on eth0",
        "IPv4 cidr=192.168.10.0/24: 192.168.10.5/24 on eth0",
    ]
    [wrong] = preview.preview(["interface=["], 4, around)
    assert wrong.why.startswith("Invalid IP autodetection method")
