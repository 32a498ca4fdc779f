"""The collector and addresses that rest: no leaks, in use until their time has come, then free."""

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import IPAMBlock
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.node import Node
from pycalico.controllers.collector import Collector
from pycalico.controllers.ipamview import IPAMView
from pycalico.controllers.leaks import Findings
from pycalico.datastore.memory import MemoryClient
from pycalico.ipam import block
from pycalico.ipam.allocator import Allocator

WINDOW_S = 60


def test_rests_end_though_nobody_looks_at_the_block():
    client = MemoryClient()
    client.create(Node(metadata=ObjectMeta(name="n")))
    client.create(
        IPPool(
            metadata=ObjectMeta(name="p"),
            spec=IPPoolSpec(cidr="10.0.0.0/24", block_size=26, node_selector="all()"),
        )
    )
    ipam = Allocator(client)
    config = ipam.config()
    config.spec.ip_cooldown_seconds = WINDOW_S
    ipam.set_config(config)
    ipam.auto_assign(2, 0, "h", {"node": "n", "namespace": "ns", "pod": "gone"}, "n")
    ipam.release_by_handle("h")

    view = IPAMView()
    view.put_block(client.list(IPAMBlock).items[0])
    (seen,) = view.blocks.values()
    assert (seen.used, seen.allocations, view.suspected()) == (2, {}, [])
    released_s = seen.rests_since_s

    def collect(wall_s, now_s):
        collector = Collector(
            view,
            Allocator(client),
            None,
            grace_s=None,
            reclaimed=lambda *_: None,
            node_released=lambda _: None,
            wall=lambda: wall_s,
        )
        assert collector.collect(Findings(), now_s)
        return client.list(IPAMBlock).items[0].spec

    assert block.rests_since_s(collect(released_s + WINDOW_S - 1, 0.0)) == released_s
    # The records are dated by the clock of whoever reads them too.
    config = ipam.config()
    config.spec.ip_cooldown_seconds = 0
    ipam.set_config(config)
    left = collect(released_s + 1, 100.0)
    assert (left.attributes, len(left.unallocated)) == ([], 64)
