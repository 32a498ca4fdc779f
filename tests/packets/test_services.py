"""Rules that name a service, which only Kubernetes has: its endpoints and ports, as they come and go."""

import pytest
from netpol_lab import NetpolLab
from reference import Packet
from test_felix_faults import until

from pycalico.kernel import netns

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]
_ADDRESSES = {"x/a": "10.65.0.10", "x/b": "10.65.0.11", "y/a": "10.65.0.13", "y/b": "10.65.0.14"}
_SIX = {"x/a": "fd65::a", "x/b": "fd65::b", "y/a": "fd65::d", "y/b": "fd65::e"}
_POLICIES = "/apis/crd.projectcalico.org/v1/namespaces/x/networkpolicies"
_SLICES = "/apis/discovery.k8s.io/v1/namespaces/y/endpointslices"


def _slice(name, kind, *addresses):
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": kind,
        "endpoints": [{"addresses": [address]} for address in addresses],
        "ports": [{"name": "http", "protocol": "TCP", "port": 80}],
    }


def _policy(name, **spec):
    meta = {"name": f"default.{name}", "namespace": "x"}
    return {"apiVersion": "crd.projectcalico.org/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}


def test_egress_to_a_service_and_ingress_from_one(dataplane, tmp_path):
    with netns.private():
        lab = NetpolLab(tmp_path, dataplane)
        try:
            lab.start()
            service = {"name": "web", "namespace": "y"}
            lab._call("POST", _SLICES, _slice("web-4", "IPv4", _ADDRESSES["y/a"]))
            lab._call("POST", _SLICES, _slice("web-6", "IPv6", _SIX["y/a"]))
            to = {"action": "Allow", "destination": {"services": service}}
            lab._call("POST", _POLICIES, _policy("to", selector="pod == 'a'", types=["Egress"], egress=[to]))
            back = {"action": "Allow", "source": {"services": service}}
            lab._call(
                "POST", _POLICIES, _policy("from", selector="pod == 'b'", types=["Ingress"], ingress=[back])
            )
            ports = iter(range(20000, 60000))

            def fares(source, target, protocol, port):
                found = [
                    (source, target, Packet(of[source], of[target], protocol, next(ports), port))
                    for of in (_ADDRESSES, _SIX)
                ]
                answers = set(lab.underlay.probe(found))
                return answers.pop() if len(answers) == 1 else None

            def rules(first, second):
                return (
                    # Only the service's endpoint, on its port and protocol.
                    fares("x/a", first, "tcp", 80) is True
                    and fares("x/a", first, "tcp", 81) is False
                    and fares("x/a", first, "udp", 80) is False
                    and fares("x/a", second, "tcp", 80) is False
                    # From a service's endpoints any port will do.
                    and fares(first, "x/b", "udp", 9999) is True
                    and fares(second, "x/b", "udp", 9999) is False
                )

            until(lambda: rules("y/a", "y/b"), 8, "the service is y/a")
            lab._call("PUT", f"{_SLICES}/web-4", _slice("web-4", "IPv4", _ADDRESSES["y/b"]))
            lab._call("PUT", f"{_SLICES}/web-6", _slice("web-6", "IPv6", _SIX["y/b"]))
            until(lambda: rules("y/b", "y/a"), 8, "the service is y/b")
            lab._call("DELETE", f"{_SLICES}/web-4")
            lab._call("DELETE", f"{_SLICES}/web-6")
            until(lambda: fares("x/a", "y/b", "tcp", 80) is False, 8, "the service is nobody")
        finally:
            lab.close()
