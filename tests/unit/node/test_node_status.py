import pytest

from pycalico.api.meta import Key, ObjectMeta
from pycalico.api.v3.caliconodestatus import (
    BGPDaemonStatus,
    CalicoNodeAgentStatus,
    CalicoNodeStatus,
    CalicoNodeStatusSpec,
    CalicoNodeStatusStatus,
)
from pycalico.bgp import birdctl
from pycalico.datastore.memory import MemoryClient
from pycalico.node import status
from pycalico.node.reporter import Reporter
from pycalico.syncer.update import Update


class World:
    def __init__(self, period=10, node="n1"):
        self.client = MemoryClient()
        self.gathered = 0
        self.fault = None
        self.router_id = "10.0.0.1"
        self.client.create(
            CalicoNodeStatus(
                metadata=ObjectMeta(name="s"),
                spec=CalicoNodeStatusSpec(node=node, classes=["Agent"], update_period_seconds=period),
            )
        )
        self.reporter = Reporter(self.client, "n1", self.gather)

    def gather(self, classes):
        self.gathered += 1
        if self.fault:
            raise self.fault
        agent = CalicoNodeAgentStatus(bird_v4=BGPDaemonStatus(state="Ready", router_id=self.router_id))
        return CalicoNodeStatusStatus(agent=agent)

    def stored(self):
        return self.client.get(CalicoNodeStatus, "s")

    def tell(self, now):
        self.reporter.apply([Update(Key("CalicoNodeStatus", "", "s"), self.stored())], now)


def test_reports_at_once_and_then_in_each_period():
    world = World()
    world.tell(100.0)
    world.reporter.report_due(100.0)
    assert world.stored().status.agent.bird_v4.router_id == "10.0.0.1"
    assert world.stored().status.last_updated
    assert world.reporter.next_due() == 110.0
    revision = world.stored().metadata.resource_version
    world.tell(101.0)  # our own writing comes back
    world.reporter.report_due(101.0)
    assert world.gathered == 1
    world.reporter.report_due(110.0)
    assert world.gathered == 2
    assert world.stored().metadata.resource_version == revision, "what has not changed is not written"
    world.router_id = "10.0.0.2"
    world.reporter.report_due(120.0)
    assert world.stored().status.agent.bird_v4.router_id == "10.0.0.2"


def test_period_zero_reports_once_for_each_spec():
    world = World(period=0)
    world.tell(0.0)
    world.reporter.report_due(0.0)
    assert world.reporter.next_due() is None
    changed = world.stored()
    changed.spec.classes = ["Agent", "BGP"]
    world.client.update(changed)
    world.tell(5.0)
    world.reporter.report_due(5.0)
    assert world.gathered == 2


def test_other_nodes_and_deleted_objects_are_let_go():
    world = World(node="n2")
    world.tell(0.0)
    assert world.reporter.next_due() is None
    world = World()
    world.tell(0.0)
    world.reporter.apply([Update(Key("CalicoNodeStatus", "", "s"), None)], 1.0)
    assert world.reporter.next_due() is None


def test_nothing_is_written_when_something_cannot_be_read():
    world = World()
    world.fault = birdctl.BirdError("unexpected output line from BIRD")
    world.tell(0.0)
    world.reporter.report_due(0.0)
    assert world.stored().status.last_updated is None
    assert world.reporter.next_due() is not None


@pytest.mark.parametrize(
    ("line", "family", "form"),
    [
        (
            "10.0.0.0/26 via 10.0.0.2 on eth0 [Mesh_10_0_0_2 01:02:03] * (100/0) [i]",
            4,
            ("FIB", "10.0.0.2", "eth0", "NodeMesh", "10.0.0.2"),
        ),
        (
            "10.0.0.0/26 via 10.0.0.2 on eth0 [Node_10_0_0_2_port_5 01:02:03] (100/0) [i]",
            4,
            ("RIB", "10.0.0.2", "eth0", "BGPPeer", "10.0.0.2"),
        ),
        (
            "fd00::/64 via fe80::1 on eth0 [Global_fd00__2 01:02:03] * (100/0) [i]",
            6,
            ("FIB", "fe80::1", "eth0", "BGPPeer", "fd00::2"),
        ),
        ("10.0.0.0/26 blackhole [static1 01:02:03] * (200)", 4, ("FIB", "N/A", "blackhole", "Static", "")),
        (
            "10.0.0.0/26 unreachable [static1 01:02:03] * (200)",
            4,
            ("FIB", "N/A", "unreachable", "Static", ""),
        ),
        ("10.0.0.1/32 dev cali12 [kernel1 01:02:03] * (10)", 4, ("FIB", "N/A", "cali12", "Kernel", "")),
        ("10.0.0.0/24 dev eth0 [direct1 01:02:03] * (240)", 4, ("FIB", "N/A", "eth0", "Direct", "")),
    ],
)
def test_forms_of_routes(line, family, form):
    [route] = birdctl.parse_routes(["1007-" + line])
    found = status.route_of(route, family)
    assert (
        found.type,
        found.gateway,
        found.interface,
        found.learned_from.source_type,
        found.learned_from.peer_ip,
    ) == form
