"""What is read of Kubernetes when a server, a proxy or an object is not as it should be."""

import msgspec
import pytest

from pycalico.controllers import copies
from pycalico.controllers.kubernetes import NODES, PODS, KubernetesPod
from pycalico.controllers.source import KubernetesSource, MirroredNamespace, MirroredPolicy
from pycalico.datastore.client import EventType
from pycalico.datastore.errors import Unavailable
from pycalico.datastore.kubernetes.rest import Page, RawEvent, StatusError
from pycalico.syncer.update import Update

GOOD = {"metadata": {"name": "good", "namespace": "a", "resourceVersion": "2"}, "spec": {"podSelector": {}}}
BAD = {"metadata": {"name": "bad", "namespace": "a", "resourceVersion": "3"}, "spec": {"podSelector": 7}}


def raw(value):
    return msgspec.Raw(msgspec.json.encode(value))


class Rest:
    def __init__(self, *items, error=None):
        self.items, self.error = [raw(item) for item in items], error

    def pages(self, path):
        if self.error is not None:
            raise self.error
        half = len(self.items) // 2
        yield Page(self.items[:half], "9")
        yield Page(self.items[half:], "9")

    def watch(self, path, *, revision="", query=None):
        return [RawEvent("MODIFIED", item) for item in self.items] + [RawEvent("BOOKMARK", raw(GOOD))]


def source(rest, complaints=None):
    told = complaints if complaints is not None else []
    return KubernetesSource(
        rest, [PODS, NODES, *copies.kinds(lambda meta, why: told.append((meta.name, why)))]
    )


@pytest.mark.parametrize("code", [404, 400, 405])
def test_a_refused_list_is_an_outage_and_never_an_empty_cluster(code):
    error = StatusError(code, "NotFound", "404 page not found")
    with pytest.raises(Unavailable, match="page not found"):
        source(Rest(error=error)).list(MirroredNamespace)


def test_an_object_that_cannot_be_read_is_named_and_the_others_go_on(caplog):
    complaints = []
    found = source(Rest(BAD, GOOD, "not even an object"), complaints).list(MirroredPolicy)
    assert [(item.metadata.name, item.wanted is None) for item in found.items] == [
        ("bad", True),
        ("good", False),
    ]
    assert "networkpolicies a/bad cannot be converted" in caplog.text
    assert [name for name, _ in complaints] == ["bad"]
    deleted = Rest(BAD)
    deleted.watch = lambda *_, **__: [RawEvent("DELETED", deleted.items[0])]
    assert [event.type for event in source(deleted, complaints).watch(MirroredPolicy)] == [EventType.DELETED]
    assert len(complaints) == 1
    events = list(source(Rest(BAD, GOOD, 7)).watch(MirroredPolicy))
    assert [(event.type, event.object.metadata.name if event.object else None) for event in events] == [
        (EventType.MODIFIED, "bad"),
        (EventType.MODIFIED, "good"),
        (EventType.BOOKMARK, None),
    ]


def test_what_was_made_of_its_last_good_state_stays():
    mirrored = copies.policies()
    good = source(Rest(GOOD)).list(MirroredPolicy).items[0]
    broken = source(Rest({**BAD, "metadata": GOOD["metadata"]})).list(MirroredPolicy).items[0]
    assert mirrored.take(Update(good.key, good)) == ("a", "knp.default.good")
    assert mirrored.take(Update(broken.key, broken)) is None
    assert list(mirrored.missing(set())) == [("a", "knp.default.good")]
    # And after a restart, when the good state was never seen: it is not removed.
    fresh = copies.policies()
    fresh.take(Update(broken.key, broken))
    from pycalico.api.meta import ObjectMeta
    from pycalico.api.v3.networkpolicy import NetworkPolicy
    from pycalico.datastore.etcd.bulk import Found

    there = NetworkPolicy(metadata=ObjectMeta(name="knp.default.good", namespace="a"))
    assert fresh.look(Found("a", "knp.default.good", there, "5")) is None
    assert list(fresh.missing(set())) == []
    # Deleted at last, it goes.
    assert fresh.take(Update(broken.key, None)) == ("a", "knp.default.good")
    assert fresh.look(Found("a", "knp.default.good", there, "5")).resource is None


def test_a_pod_that_cannot_be_read_protects_its_addresses():
    found = source(Rest({"metadata": {"name": "p", "namespace": "a"}, "status": {"podIP": 7}})).list(
        KubernetesPod
    )
    assert [(item.metadata.name, item.addresses) for item in found.items] == [("p", None)]
