"""Bad objects, bad settings and a kernel that refuses: told once by name, shown, and in nobody else's way."""

import time
import urllib.request

import pytest
from felix_world import shell
from test_felix_faults import A, B, C, Node, _resource, tcp, until

from pycalico.kernel import netns

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]
_METRICS = "http://127.0.0.1:9091/metrics"
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


def _metrics():
    with urllib.request.urlopen(_METRICS, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
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
    found = {name.split("{")[0] for name in _metrics()}
    for name in (
        "felix_active_local_endpoints", "felix_active_local_policies", "felix_active_local_selectors",
        "felix_calc_graph_output_events", "felix_calc_graph_update_time_seconds_sum",
        "felix_calc_graph_updates_processed", "felix_cluster_num_host_endpoints", "felix_cluster_num_hosts",
        "felix_cluster_num_policies", "felix_cluster_num_profiles", "felix_cluster_num_workload_endpoints",
        "felix_exec_time_micros_count", "felix_host", "felix_int_dataplane_apply_time_seconds_sum",
        "felix_int_dataplane_failures", "felix_int_dataplane_messages", "felix_int_dataplane_msg_batch_size_sum",
        "felix_int_dataplane_iface_msg_batch_size_sum", "felix_ipset_calls", "felix_ipset_errors",
        "felix_ipset_lines_executed", "felix_ipsets_calico", "felix_ipsets_total", "felix_iptables_chains",
        "felix_iptables_lines_executed", "felix_iptables_restore_calls", "felix_iptables_restore_errors",
        "felix_iptables_rules", "felix_iptables_save_calls", "felix_iptables_save_errors",
        "felix_label_index_num_active_selectors", "felix_label_index_num_endpoints",
        "felix_label_index_selector_evals", "felix_log_errors", "felix_logs_dropped", "felix_resync_state",
    ):  # fmt: skip
        assert name in found, name
    values = _metrics()
    assert float(values["felix_active_local_endpoints"]) == 9
    chains = shell("iptables-legacy-save -t filter").count("\n:cali-")
    assert abs(float(values['felix_iptables_chains{ip_version="4",table="filter"}']) - chains) <= 3
    assert float(values["felix_log_errors"]) >= 0
