"""Selectors and lists whose wrong reading would let everybody in: nobody is not everybody, empty is not absent."""

import pytest
import test_graph as twin

from pycalico.calc.graph import CalcGraph
from pycalico.calc.messages import IPSetUpdate, PolicyUpdate, WorkloadEndpointUpdate
from pycalico.calc.settings import CalcSettings


def _pod(name, namespace, labels, address):
    spec = {
        "orchestrator": "k8s", "pod": name, "endpoint": "eth0", "node": "here", "interfaceName": f"cali{name}",
        "ipNetworks": [f"{address}/32"], "profiles": [f"kns.{namespace}"],
    }  # fmt: skip
    return twin.resource(
        "WorkloadEndpoint", f"here-k8s-{name}-eth0", namespace, meta={"labels": labels}, spec=spec
    )


def _told(policy):
    graph = CalcGraph(CalcSettings(hostname="here"))
    graph.set_in_sync()
    for namespace, name, labels, address in (
        ("one", "a", {"app": "a"}, "10.0.0.1"),
        ("one", "b", {"app": "b"}, "10.0.0.2"),
        ("two", "c", {"app": "a"}, "10.0.0.3"),
        ("two", "d", {"app": "b"}, "10.0.0.4"),
    ):
        graph.update(twin.put(_pod(name, namespace, labels, address)))
    graph.update(twin.put(twin.resource("NetworkPolicy", "default.p", "one", spec=policy)))
    return graph.flush()


def _members(found):
    return {frozenset(message.members) for message in found if isinstance(message, IPSetUpdate)}


@pytest.mark.parametrize(
    ("source", "members"),
    [
        ({"selector": "app == 'nobody'"}, set()),
        ({"selector": "app == 'a' || app == 'b'"}, {"10.0.0.1/32", "10.0.0.2/32"}),
        ({"selector": "all()"}, {"10.0.0.1/32", "10.0.0.2/32"}),
        ({"selector": "!has(app)"}, set()),
        ({"selector": "has(x) || all()"}, {"10.0.0.1/32", "10.0.0.2/32"}),
        ({"selector": "app == 'a'", "namespaceSelector": "all()"}, {"10.0.0.1/32", "10.0.0.3/32"}),
        ({"selector": "app == 'a'", "namespaceSelector": "has(nothing)"}, set()),
        ({"notSelector": "app == 'a'"}, {"10.0.0.2/32"}),
        ({"serviceAccounts": {"names": ["nobody"]}}, set()),
    ],
)
def test_a_rule_means_those_and_no_others(source, members):
    found = _told(
        {"selector": "app == 'b'", "types": ["Ingress"], "ingress": [{"action": "Allow", "source": source}]}
    )
    rules = [message.inbound for message in found if isinstance(message, PolicyUpdate)]
    assert len(rules[0]) == 1
    # A rule whose set is empty still asks for the set: without it the rule would match everybody.
    assert len(rules[0][0].src_ip_set_ids) == 1
    shown = {member if "/" in member else f"{member}/32" for each in _members(found) for member in each}
    assert shown == members


@pytest.mark.parametrize(
    ("selector", "pods"),
    [
        ("app == 'nobody'", set()),
        ("app == 'a' || app == 'b'", {"a", "b"}),
        ("has(x) || all()", {"a", "b"}),
        ("", {"a", "b"}),
        ("app == 'a' || projectcalico.org/namespace == 'two'", {"a"}),
    ],
)
def test_a_policy_stays_in_its_namespace(selector, pods):
    found = _told({"selector": selector, "types": ["Ingress"], "ingress": []})
    isolated = {
        message.id.workload.split("/")[1]
        for message in found
        if isinstance(message, WorkloadEndpointUpdate) and message.tiers
    }
    assert isolated == pods


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        ({"types": ["Ingress"]}, True, False),
        ({"types": ["Egress"]}, False, True),
        ({"types": ["Ingress"], "ingress": []}, True, False),
        ({"types": []}, True, True),
        ({}, True, True),
    ],
)
def test_no_rules_isolate_in_the_directions_of_the_policy(spec, ingress, egress):
    found = _told({"selector": "app == 'a'", **spec})
    tiers = next(
        message.tiers
        for message in found
        if isinstance(message, WorkloadEndpointUpdate) and message.id.workload == "one/a"
    )
    assert bool(tiers[0].ingress) == ingress
    assert bool(tiers[0].egress) == egress


def test_a_policy_that_only_logs_is_pointed_out(caplog):
    _told({"selector": "app == 'a'", "types": ["Ingress"], "ingress": [{"action": "Log"}]})
    told = [record.getMessage() for record in caplog.records]
    assert [line for line in told if "one/default.p" in line and "allows nothing" in line]
    caplog.clear()
    _told(
        {"selector": "app == 'a'", "types": ["Ingress"], "ingress": [{"action": "Log"}, {"action": "Allow"}]}
    )
    _told({"selector": "app == 'a'", "types": ["Ingress"], "ingress": []})
    assert not [record for record in caplog.records if "allows nothing" in record.getMessage()]


def test_of_a_rule_with_http_the_rest_decides(caplog):
    found = _told(
        {
            "selector": "app == 'a'",
            "types": ["Ingress"],
            "ingress": [
                {"action": "Allow", "protocol": "TCP", "http": {"methods": ["GET"]}},
                {"action": "Deny"},
            ],
        }
    )
    policy = next(message for message in found if isinstance(message, PolicyUpdate))
    assert [(rule.action, rule.protocol) for rule in policy.inbound] == [("allow", "tcp"), ("deny", None)]
    assert "one/default.p allows by HTTP, which is not looked into" in caplog.text
