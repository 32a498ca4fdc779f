import threading

import pytest

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.caliconodestatus import (
    CalicoNodeBGPStatus,
    CalicoNodePeer,
    CalicoNodeRoute,
    CalicoNodeRouteLearnedFrom,
    CalicoNodeStatus,
    CalicoNodeStatusStatus,
)
from pycalico.api.v3.node import Node
from pycalico.calicoctl.bgp import show, survey
from pycalico.datastore.errors import NotFound
from pycalico.datastore.memory import MemoryClient

PEER = CalicoNodePeer(peer_ip="10.0.0.2", type="NodeMesh", state="Established", since="10:00:00")


@pytest.fixture
def client():
    one = MemoryClient()
    for name in ("a", "b"):
        one.create(Node(metadata=ObjectMeta(name=name)))
    return one


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    monkeypatch.setattr(survey, "own_name", lambda: "")


def reporter(client, nodes):
    """Answers as calico-node -status-reporter does, for some nodes only."""
    stop = threading.Event()

    def run():
        while not stop.wait(0.02):
            for item in client.list(CalicoNodeStatus).items:
                if item.spec.node in nodes and not item.status.last_updated:
                    item.status.bgp = CalicoNodeBGPStatus(peers_v4=[PEER])
                    item.status.last_updated = "2024-01-01T00:00:00Z"
                    client.update_status(item)

    thread = threading.Thread(target=run)
    thread.start()
    return stop, thread


def asked(client, answering, only="", timeout_s=5.0):
    stop, thread = reporter(client, answering)
    try:
        return survey.survey(client, ["BGP"], only, timeout_s)
    finally:
        stop.set()
        thread.join()


def test_every_node_is_asked_and_nothing_stays_behind(client):
    found = asked(client, {"a", "b"})
    assert set(found.answers) == {"a", "b"}
    assert not found.silent
    assert client.list(CalicoNodeStatus).items == []


def test_one_node_alone(client):
    assert set(asked(client, {"a", "b"}, only="b").answers) == {"b"}
    with pytest.raises(NotFound):
        survey.survey(client, ["BGP"], "nobody", 1.0)


def test_a_silent_node_is_named_and_the_others_are_shown(client):
    found = asked(client, {"a"}, timeout_s=0.6)
    assert set(found.answers) == {"a"}
    assert "no answer within 0.6 s" in found.silent["b"]
    assert client.list(CalicoNodeStatus).items == []


def test_rows_of_both_kinds():
    status = CalicoNodeStatusStatus()
    status.bgp.peers_v4 = [PEER]
    status.routes.routes_v6 = [
        CalicoNodeRoute(
            type="FIB", destination="fd00::/64", gateway="N/A", interface="blackhole",
            learned_from=CalicoNodeRouteLearnedFrom(source_type="Static"),
        )
    ]  # fmt: skip
    (peer,) = show.peer_rows("a", status)
    assert (peer["node"], peer["family"], peer["state"]) == ("a", 4, "Established")
    (route,) = show.route_rows("a", status)
    assert (route["family"], route["used"], route["source"], route["peerIP"]) == (6, True, "Static", "")
