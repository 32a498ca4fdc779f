import msgspec
import pytest

from pycalico.api import names
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.datastore.kubernetes import core
from pycalico.datastore.kubernetes.convert import metadata, networkpolicy, node, pod, uid


def decode(kind, **fields):
    return msgspec.convert(fields, kind)


def test_uid_reversal_is_its_own_inverse_and_keeps_version_and_variant():
    real = "01234567-89ab-4def-8123-456789abcdef"
    other = uid.reverse(real)
    assert other != real
    assert other[14] == "4"
    assert uid.reverse(other) == real
    assert uid.reverse("no uuid") == "no uuid"


def test_crd_metadata_round_trip_keeps_user_labels_off_the_crd_object():
    pool = IPPool(
        metadata=ObjectMeta(
            name="p",
            uid="01234567-89ab-4def-8123-456789abcdef",
            labels={"a": "b", "projectcalico.org/x": "y"},
        ),
        spec=IPPoolSpec(cidr="10.0.0.0/16"),
    )
    written = metadata.to_crd(pool)
    assert written.api_version == "crd.projectcalico.org/v1"
    assert written.metadata.labels == {"projectcalico.org/x": "y"}
    assert written.metadata.annotations["projectcalico.org/metadata"].startswith('{"creationTimestamp":null')
    back = metadata.from_crd(msgspec.json.decode(msgspec.json.encode(written), type=IPPool))
    assert back.metadata.labels == pool.metadata.labels
    assert back.metadata.uid == pool.metadata.uid
    assert back.api_version == "projectcalico.org/v3"


SEED_PODS = [
    ("default", "pod1", "calice0906292e2"),
    ("default", "pod2", "calibd2348b4f67"),
    ("kube-system", "coredns-55cb58b774-5ttdh", "cali8aed9290dbd"),
]


@pytest.mark.parametrize(("namespace", "name", "interface"), SEED_PODS)
def test_pod_gets_the_seeds_names(namespace, name, interface):
    source = decode(
        core.Pod,
        metadata={"name": name, "namespace": namespace, "labels": {"k8s-app": "x"}},
        spec={
            "nodeName": "k8s-w0",
            "serviceAccountName": "coredns",
            "containers": [
                {"ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}, {"containerPort": 80}]}
            ],
        },
        status={"podIP": "172.16.34.3", "podIPs": [{"ip": "172.16.34.3"}]},
    )
    endpoint = pod.to_workload_endpoint(source)
    assert endpoint.metadata.name == f"k8s--w0-k8s-{name.replace('-', '--')}-eth0"
    assert endpoint.spec.interface_name == interface
    assert endpoint.spec.ip_networks == ["172.16.34.3/32"]
    assert endpoint.spec.profiles == [f"kns.{namespace}", f"ksa.{namespace}.coredns"]
    assert [(p.name, p.protocol, p.port) for p in endpoint.spec.ports] == [("dns", "UDP", 53)]
    assert names.split_workload_endpoint(endpoint.metadata.name) == ["k8s-w0", "k8s", name, "eth0"]


def test_finished_pod_keeps_no_address():
    source = decode(
        core.Pod,
        metadata={"name": "a", "namespace": "b"},
        spec={"nodeName": "n"},
        status={"phase": "Succeeded", "podIP": "10.0.0.1"},
    )
    assert pod.to_workload_endpoint(source).spec.ip_networks == []


def test_malformed_pod_annotation_is_an_error_of_that_pod():
    source = decode(
        core.Pod,
        metadata={"name": "a", "namespace": "b", "annotations": {pod.ALLOWED_SOURCE_PREFIXES: "nonsense"}},
        spec={"nodeName": "n"},
    )
    with pytest.raises(ValueError, match="as JSON"):
        pod.to_workload_endpoint(source)


def test_node_round_trip_leaves_kubernetes_labels_to_kubernetes():
    source = decode(
        core.Node,
        metadata={
            "name": "n",
            "labels": {"k": "v"},
            "annotations": {
                "projectcalico.org/IPv4Address": "10.0.0.1/24",
                "projectcalico.org/ASNumber": "1.10",
                "projectcalico.org/labels": '{"own":"x"}',
            },
        },
        spec={"podCIDR": "10.1.0.0/24"},
        status={
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "n"}]
        },
    )
    found = node.from_kubernetes(source)
    assert found.metadata.labels == {"k": "v", "own": "x"}
    assert found.spec.bgp.as_number == 65546
    assert [(a.type, a.address) for a in found.spec.addresses] == [
        ("CalicoNodeIP", "10.0.0.1/24"),
        ("InternalIP", "10.0.0.1"),
    ]
    annotations = node.annotations_of(found)
    assert annotations["projectcalico.org/labels"] == '{"own":"x"}'
    assert annotations["projectcalico.org/IPv4Address"] == "10.0.0.1/24"
    assert annotations["projectcalico.org/IPv6Address"] is None


def test_invalid_node_annotation_is_ignored():
    source = decode(core.Node, metadata={"name": "n", "annotations": {"projectcalico.org/IPv4Address": "x"}})
    assert node.from_kubernetes(source).spec.bgp is None


def test_network_policy_rules_per_protocol_and_peer():
    source = decode(
        core.NetworkPolicy,
        metadata={"name": "web", "namespace": "default"},
        spec={
            "podSelector": {
                "matchLabels": {"b": "2", "a": "1"},
                "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["x", "y"]}],
            },
            "ingress": [
                {
                    "from": [
                        {"namespaceSelector": {}},
                        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
                    ],
                    "ports": [
                        {"port": 81},
                        {"port": 80, "protocol": "TCP"},
                        {"port": "http"},
                        {"port": 53, "protocol": "UDP"},
                    ],
                }
            ],
        },
    )
    policy = networkpolicy.from_kubernetes(source)
    assert policy.metadata.name == "knp.default.web"
    assert (
        policy.spec.selector
        == "projectcalico.org/orchestrator == 'k8s' && a == '1' && b == '2' && c not in { 'x', 'y' }"
    )
    assert policy.spec.types == ["Ingress"]
    rules = policy.spec.ingress
    assert [rule.protocol for rule in rules] == ["TCP", "TCP", "UDP", "UDP"]
    assert rules[0].destination.ports == ["http", "80:81"]
    assert rules[0].source.namespace_selector == "all()"
    assert rules[1].source.not_nets == ["10.1.0.0/16"]


def test_bad_rule_is_dropped_and_the_rest_stays():
    source = decode(
        core.NetworkPolicy,
        metadata={"name": "web", "namespace": "default"},
        spec={"ingress": [{"from": [{"ipBlock": {"cidr": "nonsense"}}]}, {"ports": [{"port": 80}]}]},
    )
    assert len(networkpolicy.from_kubernetes(source).spec.ingress) == 1
