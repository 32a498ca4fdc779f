"""Bad objects, bad settings and a kernel that refuses: told once by name, shown, and in nobody else's way."""

import re
import time
import urllib.request
from pathlib import Path

import pytest
from felix_world import shell
from test_felix_faults import A, B, C, Node, _resource, tcp, until

from pycalico.kernel import netns

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]
_METRICS = "http://127.0.0.1:9091/metrics"
_UPSTREAMS_METRICS = Path(__file__).parent.parent / "golden" / "data" / "felix-metrics.txt"
_LABEL = re.compile(r"(\w+)=")
_POLICIES = "/calico/resources/v3/projectcalico.org/networkpolicies/default"


@pytest.fixture
def node(tmp_path):
    environ = {
        "FELIX_IPTABLESBACKEND": "legacy",
        "FELIX_PROMETHEUSMETRICSENABLED": "true",
        "FELIX_MAXIPSETSIZE": "60",
        "FELIX_DEVICEROUTEPROTOCOL": "many",
        "FELIX_LOGSEVERITYSCREEN": "warning",
    }
    with netns.private():
        node = Node(tmp_path, environ)
        try:
            yield node.start()
        finally:
            node.lab.close()


def _exposition():
    with urllib.request.urlopen(_METRICS, timeout=5) as answer:
        return answer.read().decode().splitlines()


def _metrics():
    lines = _exposition()
    return dict(line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))


def _raw(node, name, spec):
    """As somebody writes it who does not go through calicoctl."""
    kind = {"kind": "NetworkPolicy", "apiVersion": "projectcalico.org/v3"}
    meta = {"name": f"default.{name}", "namespace": "default"}
    node.lab.felix.put(f"{_POLICIES}/default.{name}", {**kind, "metadata": meta, "spec": spec})


_BAD = {
    "selector": {"selector": "pod == ", "types": ["Ingress"]},
    "cidr": {"selector": "all()", "ingress": [{"action": "Allow", "source": {"nets": ["10.0.0.0/99"]}}]},
    "port": {
        "selector": "all()",
        "ingress": [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [70000]}}],
    },
    "action": {"selector": "all()", "ingress": [{"action": "Perhaps"}]},
    "type": {"selector": 5},
}


def test_bad_policies_are_told_by_name_and_harm_no_other(node):
    for name, spec in _BAD.items():
        _raw(node, f"bad-{name}", spec)
    _raw(node, "unknown-field", {"selector": "pod == 'c'", "types": ["Ingress"], "shiny": {"new": 1}})
    # The good one after them works: nobody reaches c any more.
    until(lambda: node.lab.underlay.probe([tcp(B, C)]) == [False], 5, "the policy after the bad ones")
    assert node.is_right()
    time.sleep(0.5)
    log = node.lab.felix.log()
    for name in _BAD:
        told = [line for line in log.splitlines() if f"bad-{name}" in line]
        assert len(told) == 1, (name, log)
    assert "Traceback" not in log
    assert node.lab.felix.ready()


def test_a_good_policy_turned_bad_no_longer_counts(node):
    """It counts as deleted, as upstream has it, and is told; mending it brings it back."""
    broken = _BAD["selector"]
    _raw(node, "only-b", broken)
    until(lambda: node.lab.underlay.probe([tcp(C, A)]) == [True], 5, "it counts as deleted")
    node.lab.applied.clear()
    node.lab.felix.put(f"{_POLICIES}/default.only-b", None)
    allow = {
        "action": "Allow",
        "protocol": "TCP",
        "source": {"selector": "pod == 'b'"},
        "destination": {"ports": [80]},
    }
    spec = {"selector": "pod == 'a'", "types": ["Ingress"], "ingress": [allow]}
    node.lab.felix.apply(_resource("NetworkPolicy", "only-b", spec, "default"))
    until(node.is_right, 5, "the mended policy")


def test_a_bad_setting_is_told_and_the_default_holds(node):
    told = [line for line in node.lab.felix.log().splitlines() if "DeviceRouteProtocol" in line]
    assert told
    assert all("many" in line and "default" in line for line in told)
    assert "proto boot" in shell("ip -d route show 10.65.0.10")


def test_a_full_set_shows_in_readiness_and_metrics_and_heals(node):
    nets = [f"10.200.{number}.0/24" for number in range(100)]
    node.lab.felix.apply(
        {
            **_resource("GlobalNetworkSet", "big", {"nets": nets}),
            "metadata": {"name": "big", "labels": {"big": "1"}},
        }
    )
    rule = {"action": "Allow", "source": {"selector": "big == '1'"}}
    spec = {"selector": "pod == 'c'", "types": ["Ingress"], "ingress": [rule]}
    node.lab.felix.apply(_resource("GlobalNetworkPolicy", "from-big", spec))

    def detail():
        with urllib.request.urlopen("http://127.0.0.1:9099/readiness", timeout=5) as answer:
            return answer.read().decode()

    until(lambda: "IP sets" in detail(), 8, "the reason in readiness")
    assert float(_metrics()["felix_int_dataplane_failures"]) >= 1
    assert node.is_right()
    node.lab.felix.apply(
        {
            **_resource("GlobalNetworkSet", "big", {"nets": nets[:30]}),
            "metadata": {"name": "big", "labels": {"big": "1"}},
        }
    )
    until(lambda: float(_metrics()["felix_int_dataplane_failures"]) == 0, 15, "all is as wished")


def test_metrics_have_upstreams_names(node):
    """Of v3.28.1: every series of Felix with its labels' names, and their types."""
    found = {}
    for line in _exposition():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            found[name] = kind
        elif not line.startswith("#"):
            name, _, labels = line.rsplit(" ", 1)[0].partition("{")
            found[f"{name} {','.join(_LABEL.findall(labels))}"] = ""
    wanted = dict(line.rsplit("=", 1) for line in _UPSTREAMS_METRICS.read_text().splitlines())
    assert len(wanted) > 120
    assert {name: found.get(name) for name in wanted if found.get(name) != wanted[name]} == {
        # Here it goes back when what failed is mended.
        "felix_int_dataplane_failures": "gauge"
    }
    values = _metrics()
    assert float(values["felix_active_local_endpoints"]) == 9
    chains = shell("iptables-legacy-save -t filter").count("\n:cali-")
    assert abs(float(values['felix_iptables_chains{ip_version="4",table="filter"}']) - chains) <= 3
    assert float(values["felix_log_errors"]) >= 0
