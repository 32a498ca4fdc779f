"""The Kubernetes driver against a real API server."""

import threading
import time

import pytest

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import IPAMBlock, IPAMBlockSpec, IPAMHandle, IPAMHandleSpec
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.networkpolicy import KubernetesNetworkPolicy
from pycalico.api.v3.node import Node, NodeBGPSpec
from pycalico.api.v3.profile import Profile
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint
from pycalico.datastore.client import EventType
from pycalico.datastore.errors import AlreadyExists, Conflict, NotFound


def test_create_update_conflict_delete(kubernetes):
    made = kubernetes.create(
        IPPool(metadata=ObjectMeta(name="p1", labels={"a": "b"}), spec=IPPoolSpec(cidr="10.9.0.0/16"))
    )
    assert made.metadata.labels == {"a": "b"}
    assert made.api_version == "projectcalico.org/v3"
    made.spec.nat_outgoing = True
    changed = kubernetes.update(made)
    assert changed.spec.nat_outgoing
    with pytest.raises(Conflict):
        kubernetes.update(made)
    with pytest.raises(AlreadyExists, match=r"resource already exists: IPPool\(p1\)"):
        kubernetes.create(IPPool(metadata=ObjectMeta(name="p1"), spec=IPPoolSpec(cidr="10.9.0.0/16")))
    with pytest.raises(Conflict):
        kubernetes.delete(IPPool, "p1", revision=made.metadata.resource_version)
    kubernetes.delete(IPPool, "p1", revision=changed.metadata.resource_version)
    with pytest.raises(NotFound):
        kubernetes.get(IPPool, "p1")


def test_block_keeps_large_numbers_and_is_deleted_in_two_steps(kubernetes):
    spec = IPAMBlockSpec(
        cidr="172.16.0.0/30", allocations=[None] * 4, unallocated=[0, 1, 2, 3], sequence_number=2**60 + 1
    )
    block = kubernetes.create(IPAMBlock(metadata=ObjectMeta(name="172-16-0-0-30"), spec=spec))
    assert block.spec.sequence_number == 2**60 + 1
    watch = kubernetes.watch(IPAMBlock, revision=block.metadata.resource_version)
    kubernetes.delete(IPAMBlock, "172-16-0-0-30", revision=block.metadata.resource_version)
    events = iter(watch)
    marked = next(events)
    assert (marked.type, marked.object.spec.deleted) == (EventType.MODIFIED, True)
    assert next(events).type is EventType.DELETED
    watch.close()
    with pytest.raises(NotFound):
        kubernetes.get(IPAMBlock, "172-16-0-0-30")


def test_tombstone_left_by_a_dead_writer_is_finished_by_the_next_reader(kubernetes):
    kubernetes.create(
        IPAMHandle(
            metadata=ObjectMeta(name="Net.ABC"), spec=IPAMHandleSpec(handle_id="Net.ABC", deleted=True)
        )
    )
    with pytest.raises(NotFound):
        kubernetes.get(IPAMHandle, "net.abc")
    kubernetes.create(
        IPAMHandle(metadata=ObjectMeta(name="Net.ABC"), spec=IPAMHandleSpec(handle_id="Net.ABC"))
    )
    assert kubernetes.get(IPAMHandle, "Net.ABC").spec.handle_id == "Net.ABC"
    kubernetes.delete(IPAMHandle, "Net.ABC")


def test_watch_ends_when_closed_from_another_thread(kubernetes):
    watch = kubernetes.watch(IPPool, revision=kubernetes.list(IPPool).revision)
    threading.Timer(0.2, watch.close).start()
    start = time.monotonic()
    assert list(watch) == []
    assert time.monotonic() - start < 2


def test_node_and_endpoint_are_written_as_annotations(kubernetes, core_objects):
    core_objects(
        "v1",
        "nodes",
        "",
        {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1", "labels": {"x": "y"}}},
    )
    node = kubernetes.get(Node, "n1")
    node.spec.bgp = NodeBGPSpec(ipv4_address="10.0.0.1/24")
    node.metadata.labels["own"] = "1"
    written = kubernetes.update(node)
    assert written.spec.bgp.ipv4_address == "10.0.0.1/24"
    assert written.metadata.labels == {"x": "y", "own": "1"} | {
        k: v for k, v in written.metadata.labels.items() if k.startswith("kubernetes.io/")
    }
    with pytest.raises(Conflict):
        kubernetes.update(node)

    pod = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "pod1"},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]},
    }
    core_objects("v1", "pods", "default", pod)
    (endpoint,) = kubernetes.list(WorkloadEndpoint, "default", name_prefix="n1-k8s-pod1-").items
    assert endpoint.spec.interface_name == "calice0906292e2"
    assert endpoint.spec.profiles == ["kns.default", "ksa.default.default"]
    watch = kubernetes.watch(WorkloadEndpoint, revision=endpoint.metadata.resource_version)
    endpoint.spec.ip_networks, endpoint.spec.container_id = ["172.16.0.1/32"], "abc"
    kubernetes.update(endpoint)
    event = next(iter(watch))
    watch.close()
    assert event.object.spec.ip_networks == ["172.16.0.1/32"]
    assert event.object.spec.container_id == "abc"
    assert kubernetes.delete(WorkloadEndpoint, endpoint.metadata.name, "default").spec.ip_networks == []


def test_profiles_follow_namespaces_and_service_accounts(kubernetes, core_objects):
    before = kubernetes.list(Profile)
    assert "projectcalico-default-allow" in [item.metadata.name for item in before.items]
    watch = kubernetes.watch(Profile, revision=before.revision)
    core_objects(
        "v1",
        "namespaces",
        "",
        {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "space", "labels": {"a": "b"}}},
    )
    core_objects(
        "v1",
        "serviceaccounts",
        "space",
        {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "robot"}},
    )
    seen = {}
    for event in watch:
        if event.object is not None:
            seen[event.object.metadata.name] = event.object
        if {"kns.space", "ksa.space.robot"} <= set(seen):
            break
    watch.close()
    assert seen["kns.space"].spec.labels_to_apply["pcns.a"] == "b"
    assert kubernetes.get(Profile, "ksa.space.robot").spec.labels_to_apply == {
        "pcsa.projectcalico.org/name": "robot"
    }


def test_network_policy_is_seen_in_calicos_form(kubernetes, core_objects):
    policy = {
        "kind": "NetworkPolicy",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "deny"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }
    core_objects("networking.k8s.io/v1", "networkpolicies", "default", policy)
    found = kubernetes.get(KubernetesNetworkPolicy, "knp.default.deny", "default")
    assert found.spec.selector == "projectcalico.org/orchestrator == 'k8s'"
    assert [item.metadata.name for item in kubernetes.list(KubernetesNetworkPolicy).items] == [
        "knp.default.deny"
    ]
