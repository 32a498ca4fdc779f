"""The calculation fed one by one ends where the final state fed at once does."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pycalico.api.kinds import KINDS
from pycalico.api.meta import Key
from pycalico.calc import messages
from pycalico.calc.graph import CalcGraph
from pycalico.calc.settings import CalcSettings
from pycalico.syncer.update import Update


def resource(kind, name, namespace="", **fields):
    body = {"metadata": {"name": name, "namespace": namespace, **fields.pop("meta", {})}, **fields}
    return msgspec.convert(body, KINDS[kind].type)


def put(value):
    return Update(value.key, value)


class Dataplane:
    """Applies messages and checks that they come in a safe order."""

    def __init__(self):
        self.state = {}

    def apply(self, found):
        for message in found:
            name = type(message).__name__
            if isinstance(message, messages.IPSetDelta):
                members = self.state["IPSet", message.id]
                assert not message.added & members
                assert message.removed <= members
                self.state["IPSet", message.id] = (members | message.added) - message.removed
            elif isinstance(message, messages.IPSetUpdate):
                self.state["IPSet", message.id] = message.members
            elif name.endswith("Remove"):
                key = (name.removesuffix("Remove"), next(iter(msgspec.structs.astuple(message))))
                assert key in self.state, f"removal of what was never told: {key}"
                del self.state[key]
            elif name.endswith("Update") and name not in ("ConfigUpdate", "ServiceCIDRsUpdate"):
                self.state[name.removesuffix("Update"), next(iter(msgspec.structs.astuple(message)))] = (
                    message
                )
            else:
                self.state[name] = message
        self.check_references()

    def check_references(self):
        sets = {key[1] for key in self.state if key[0] == "IPSet"}
        policies = {key[1].name for key in self.state if key[0] == "Policy"}
        profiles = {key[1] for key in self.state if key[0] == "Profile"}
        used = set()
        for value in self.state.values():
            if isinstance(value, (messages.PolicyUpdate, messages.ProfileUpdate)):
                for rule in (*value.inbound, *value.outbound):
                    for field in rule.__struct_fields__:
                        if field.endswith("_ids"):
                            used |= set(getattr(rule, field))
            if isinstance(value, messages.WorkloadEndpointUpdate):
                assert set(value.profiles) <= profiles
                for tier in value.tiers:
                    assert set(tier.ingress) | set(tier.egress) <= policies
        assert used == sets


def run(updates, batches):
    graph = CalcGraph(CalcSettings(hostname="here"))
    dataplane = Dataplane()
    graph.set_in_sync()
    for number, update in enumerate(updates):
        graph.update(update)
        if number in batches:
            dataplane.apply(graph.flush())
    dataplane.apply(graph.flush())
    return dataplane.state


LABELS = st.sampled_from([{}, {"app": "a"}, {"app": "b", "tier": "x"}])
SELECTORS = st.sampled_from(["", "app == 'a'", "has(tier)", "app in {'a','b'}", "!has(app)", "broken =="])
RULES = st.lists(
    st.fixed_dictionaries(
        {
            "action": st.sampled_from(["Allow", "Deny", "Pass", "Log"]),
            "protocol": st.just("TCP"),
            "source": st.sampled_from(
                [
                    {},
                    {"selector": "app == 'b'"},
                    {"nets": ["10.0.0.0/8"]},
                    {"namespaceSelector": "all()"},
                    {"notSelector": "app == 'a'"},
                ]
            ),
            "destination": st.sampled_from(
                [{}, {"ports": [80, "http"]}, {"ports": ["http"], "selector": "app == 'a'"}]
            ),
        }
    ),
    max_size=2,
)


@st.composite
def an_update(draw):
    kind = draw(st.sampled_from(["wep", "policy", "gnp", "set", "profile", "node", "pool", "block", "hep"]))
    number = draw(st.integers(0, 2))
    gone = draw(st.integers(0, 3)) == 0
    if kind == "wep":
        node = draw(st.sampled_from(["here", "there"]))
        value = resource(
            "WorkloadEndpoint",
            f"e{number}",
            "default",
            meta={"labels": draw(LABELS)},
            spec={
                "orchestrator": "k8s",
                "pod": f"p{number}",
                "endpoint": "eth0",
                "node": node,
                "interfaceName": f"cali{number}",
                "profiles": ["kns.default"],
                "ipNetworks": draw(
                    st.sampled_from(
                        [[], [f"10.1.0.{number}/32"], [f"10.2.0.{number}/32", f"fd00::{number}/128"]]
                    )
                ),
                "ports": [{"name": "http", "protocol": "TCP", "port": 8000 + number}],
            },
        )
    elif kind == "policy":
        value = resource(
            "NetworkPolicy",
            f"default.n{number}",
            "default",
            spec={
                "selector": draw(SELECTORS),
                "order": draw(st.sampled_from([None, 1.0, 2.0])),
                "ingress": draw(RULES),
                "types": ["Ingress"],
            },
        )
    elif kind == "gnp":
        value = resource(
            "GlobalNetworkPolicy",
            f"default.g{number}",
            spec={
                "selector": draw(SELECTORS),
                "egress": draw(RULES),
                "namespaceSelector": draw(st.sampled_from(["", "env == 'prod'", "all()"])),
            },
        )
    elif kind == "set":
        value = resource(
            "NetworkSet",
            f"s{number}",
            "default",
            meta={"labels": draw(LABELS)},
            spec={"nets": draw(st.sampled_from([[], ["0.0.0.0/0"], ["10.9.0.0/16", "10.9.0.0/16"]]))},
        )
    elif kind == "profile":
        value = resource(
            "Profile",
            draw(st.sampled_from(["kns.default", "other"])),
            spec={
                "ingress": draw(RULES),
                "labelsToApply": draw(st.sampled_from([{}, {"pcns.env": "prod"}, {"app": "b"}])),
            },
        )
    elif kind == "node":
        name = draw(st.sampled_from(["here", "there", "far"]))
        value = resource(
            "Node",
            name,
            spec={
                "bgp": {
                    "ipv4Address": draw(
                        st.sampled_from(["192.168.0.1/24", "192.168.0.2/24", "192.168.9.3/24"])
                    )
                },
                "ipv4VXLANTunnelAddr": draw(st.sampled_from(["", "10.1.0.0"])),
            },
        )
    elif kind == "pool":
        value = resource(
            "IPPool",
            f"p{number}",
            spec={
                "cidr": draw(st.sampled_from(["10.1.0.0/16", "10.2.0.0/16"])),
                "vxlanMode": draw(st.sampled_from(["Never", "Always", "CrossSubnet"])),
                "natOutgoing": draw(st.booleans()),
            },
        )
    elif kind == "block":
        value = resource(
            "IPAMBlock",
            f"10-{number}-0-0-30",
            spec={
                "cidr": f"10.{number}.0.0/30",
                "affinity": draw(st.sampled_from([None, "host:here", "host:there"])),
                "allocations": draw(st.sampled_from([[None] * 4, [0, None, None, None]])),
                "attributes": [{"handle_id": "h", "secondary": {"node": "far"}}],
            },
        )
    else:
        value = resource(
            "HostEndpoint",
            f"h{number}",
            meta={"labels": draw(LABELS)},
            spec={
                "node": draw(st.sampled_from(["here", "there"])),
                "interfaceName": "eth0",
                "expectedIPs": ["192.168.0.1"],
            },
        )
    return Update(value.key, None if gone else value)


@settings(max_examples=200, deadline=None)
@given(st.lists(an_update(), max_size=25), st.sets(st.integers(0, 25)))
def test_order_and_batches_do_not_matter(updates, batches):
    step_by_step = run(updates, batches)
    final = {}
    for update in updates:
        final[update.key] = update
    at_once = run([update for update in final.values() if update.value is not None], set())
    for state in (step_by_step, at_once):
        for name in ("ConfigUpdate", "InSync", "ServiceCIDRsUpdate", "ReadyFlag"):
            state.pop(name, None)
    assert step_by_step == at_once


def test_nothing_is_said_before_in_sync():
    graph = CalcGraph(CalcSettings(hostname="here"))
    graph.update(put(resource("Node", "here", spec={"bgp": {"ipv4Address": "10.0.0.1/24"}})))
    assert graph.flush() == []
    graph.set_in_sync()
    found = graph.flush()
    assert isinstance(found[-1], messages.InSync)
    assert graph.flush() == []


def test_invalid_update_of_a_good_object_takes_the_old_one_away(caplog):
    graph = CalcGraph(CalcSettings(hostname="here"))
    graph.set_in_sync()
    wep = resource(
        "WorkloadEndpoint",
        "e",
        "default",
        spec={
            "orchestrator": "k8s",
            "pod": "p",
            "endpoint": "eth0",
            "node": "here",
            "interfaceName": "cali1",
            "ipNetworks": ["10.0.0.1/32"],
        },
    )
    graph.update(put(wep))
    good = resource("NetworkPolicy", "default.n", "default", spec={"selector": "all()", "ingress": []})
    graph.update(put(good))
    graph.flush()
    bad = resource("NetworkPolicy", "default.n", "default", spec={"selector": "broken =="})
    for _ in range(2):
        graph.update(put(bad))
    found = graph.flush()
    assert any(isinstance(message, messages.PolicyRemove) for message in found)
    assert list(graph.refused) == [Key("NetworkPolicy", "default", "default.n")]
    assert len([record for record in caplog.records if "default.n" in record.message]) == 1


def test_pod_labels_cannot_claim_a_namespace():
    graph = CalcGraph(CalcSettings(hostname="here"))
    graph.set_in_sync()
    labels = {"projectcalico.org/namespace": "prod", "pcns.env": "prod"}
    liar = resource(
        "WorkloadEndpoint",
        "e",
        "dev",
        meta={"labels": labels},
        spec={
            "orchestrator": "k8s",
            "pod": "p",
            "endpoint": "eth0",
            "node": "here",
            "interfaceName": "cali1",
            "ipNetworks": ["10.0.0.1/32"],
        },
    )
    graph.update(put(liar))
    policy = resource(
        "NetworkPolicy", "default.n", "prod", spec={"selector": "all() || all()", "ingress": []}
    )
    graph.update(put(policy))
    assert not any(isinstance(message, messages.PolicyUpdate) for message in graph.flush())


def test_recorded_set_identifiers():
    graph = CalcGraph(CalcSettings(hostname="here"))
    graph.set_in_sync()
    graph.update(
        put(
            resource(
                "WorkloadEndpoint",
                "e",
                "default",
                spec={
                    "orchestrator": "k8s",
                    "pod": "p",
                    "endpoint": "eth0",
                    "node": "here",
                    "interfaceName": "cali1",
                    "ipNetworks": ["10.0.0.1/32"],
                },
            )
        )
    )
    ingress = [
        {
            "action": "Allow",
            "protocol": "TCP",
            "source": {"selector": "app == 'a'"},
            "destination": {"ports": ["http", 80, "8000:8010"]},
        },
        {"action": "Pass", "source": {"namespaceSelector": "env == 'prod'"}},
    ]
    graph.update(put(resource("NetworkPolicy", "default.allow-a", "default", spec={"ingress": ingress})))
    ids = {message.id for message in graph.flush() if isinstance(message, messages.IPSetUpdate)}
    assert {f"cali40{set_id}"[:31] for set_id in ids} == {
        "cali40s:HboVejMrnMusrZVBSVogl_R",
        "cali40s:5X2SPVSOxbc4v-E1NhPgRV6",
        "cali40n:cl9_Kgeu4H0OGLbhovVR3NB",
    }
