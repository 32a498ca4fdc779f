"""What peers', filters', pools' and services' settings do to the routes that real BIRDs exchange."""

import contextlib

import pytest
from bgp_events import Events
from bgp_rig import World, run, until
from bgp_topologies import (
    OUTSIDE,
    ROUTER_AS,
    SERVICE_RANGE,
    BirdRouter,
    all_is_well,
    configuration,
    mesh,
    peer,
    services,
    top_of_rack,
)

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.bgpconfiguration import BGPConfiguration, Community, PrefixAdvertisement, ServiceIPBlock
from pycalico.api.v3.bgpfilter import BGPFilter, BGPFilterRule, BGPFilterSpec
from pycalico.api.v3.bgppeer import BGPPeer
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.kubernetes import KubernetesService, LoadBalancerIngress

pytestmark = pytest.mark.netns
MORE = "198.51.101.0/24"


class Router(BirdRouter):
    """``more`` is for each session, ``also`` beside them."""

    more, also = "", f"protocol static {{ route {MORE} blackhole; }}\n"

    def config(self):
        return super().config().replace("import all;", f"{self.more} import all;") + self.also


@contextlib.contextmanager
def edited(world, kind, name):
    name, namespace = name if isinstance(name, tuple) else (name, "")
    stored = world.client.get(kind, name, namespace=namespace)
    yield stored.spec
    world.client.update(stored)


def rule(cidr, operator, action):
    return BGPFilterRule(cidr=cidr, match_operator=operator, action=action)


def knows(speaker, prefix):
    return prefix in speaker.routes()


def test_filters_pools_and_communities(tmp_path):
    with World(top_of_rack(2), tmp_path) as world:
        router = Router(world)
        n1, n2 = world.nodes.values()
        until(lambda: all_is_well(world, 4, router) and knows(n1.birds[4], MORE))
        # In: rejected by name; out: one block of the two, then accepted past the pool's own setting.
        rules = BGPFilterSpec(
            import_v4=[rule(MORE, "Equal", "Reject")], export_v4=[rule(n2.blocks[4], "In", "Reject")]
        )
        world.client.create(BGPFilter(metadata=ObjectMeta(name="some"), spec=rules))
        with edited(world, BGPPeer, "router4") as spec:
            spec.filters = ["some"]
        until(lambda: not knows(n1.birds[4], MORE) and not router.next_hops(n2.blocks[4]))
        assert knows(n1.birds[4], OUTSIDE[4])
        assert router.next_hops(n1.blocks[4]) == {n1.addresses[4]}
        with edited(world, BGPFilter, "some") as spec:
            spec.import_v4 = [rule("198.51.0.0/16", "NotIn", "Accept"), rule(MORE, "NotEqual", "Reject")]
            spec.export_v4 = [rule(n2.blocks[4], "Equal", "Accept")]
        until(lambda: knows(n1.birds[4], MORE) and not knows(n1.birds[4], OUTSIDE[4]))
        with edited(world, IPPool, "pool4") as spec:
            spec.disable_bgp_export = True
        until(lambda: not router.next_hops(n1.blocks[4]))
        assert router.next_hops(n2.blocks[4]) == {n2.addresses[4]}
        world.client.delete(BGPFilter, "some")
        until(lambda: not router.next_hops(n2.blocks[4]) and knows(n1.birds[4], OUTSIDE[4]))
        with edited(world, IPPool, "pool4") as spec:
            spec.disable_bgp_export = False
        until(lambda: all_is_well(world, 4, router))
        with edited(world, BGPConfiguration, "default") as spec:
            spec.communities = [Community(name="named", value="64512:77")]
            found = PrefixAdvertisement(cidr=n1.blocks[4], communities=["named", "64512:1:2"])
            spec.prefix_advertisements = [found]

        def communities(block):
            said = "\n".join(router.speaker.ask(f"show route {block} all"))
            return "(64512,77)" in said, "(64512, 1, 2)" in said

        until(lambda: communities(n1.blocks[4]) == (True, True))
        assert communities(n2.blocks[4]) == (False, False)
        for name in ("n1", "n2"):
            assert world.nodes[name].birds[4].starts("Global_10_80_1_200") == 1, "filters do not end sessions"


def test_next_hops_own_as_numbers_ports_and_ttl(tmp_path):
    plan = mesh(2)
    for member in plan.members:
        member.spec["as_number"] = 64512
    plan.resources = [
        configuration(listen_port=1790),
        peer("router", node="n1", peer_ip="10.80.1.200", as_number=ROUTER_AS),
    ]
    with World(plan, tmp_path) as world:
        router = Router(world)
        n1, n2 = world.nodes.values()
        Events(world).settled()
        listening = run("ip", "netns", "exec", n1.namespace, "ss", "-Hltn")
        assert "0.0.0.0:1790" in listening
        assert ":179 " not in listening
        # n1 hands on what it has of n2: as its own way, or as n2's.
        until(lambda: router.next_hops(n2.blocks[4]) == {n1.addresses[4]})
        with edited(world, BGPPeer, "router") as spec:
            spec.keep_original_next_hop = True
        until(lambda: router.next_hops(n2.blocks[4]) == {n2.addresses[4]})

        # The same AS on both sides of the router: what comes back is a loop, unless it is allowed.
        with edited(world, BGPConfiguration, "default") as spec:
            spec.node_to_node_mesh_enabled = False
        world.client.create(peer("second", node="n2", peer_ip="10.80.1.200", as_number=ROUTER_AS))
        until(lambda: router.next_hops(n2.blocks[4]) == {n2.addresses[4]} and knows(n2.birds[4], OUTSIDE[4]))
        assert not knows(n2.birds[4], n1.blocks[4])
        with edited(world, BGPPeer, "second") as spec:
            spec.num_allowed_local_as_numbers = 1
        until(lambda: knows(n2.birds[4], n1.blocks[4]))
        assert not knows(n1.birds[4], n2.blocks[4])

        # Packets of a neighbour that may have come from anywhere are not taken, those from one hop away are.
        with edited(world, BGPPeer, "second") as spec:
            spec.ttl_security = 1
        until(lambda: "Node_10_80_1_200" not in n2.birds[4].established())
        router.more = "ttl security yes;"
        router.reload()
        until(lambda: "Node_10_80_1_200" in n2.birds[4].established(), 40)

        # A neighbour behind a gateway is sought there.
        world.client.create(
            peer("far", node="n1", peer_ip="10.80.9.9", as_number=65009, reachable_by="10.80.1.254")
        )
        until(lambda: ("via", "10.80.1.254", "static1") in n1.birds[4].routes().get("10.80.9.9/32", set()))


def test_a_services_outer_addresses(tmp_path):
    with World(services(), tmp_path) as world:
        router = BirdRouter(world)
        n1, n2, n3 = (world.nodes[f"n{n}"].addresses[4] for n in (1, 2, 3))
        until(lambda: router.next_hops(SERVICE_RANGE) == {n1, n2, n3})
        with edited(world, KubernetesService, ("web", "default")) as spec:
            spec.external_ips = ["203.0.113.9", "192.0.2.9"]
        with edited(world, BGPConfiguration, "default") as spec:
            spec.service_external_ips = [ServiceIPBlock(cidr="203.0.113.0/24")]
        until(lambda: router.next_hops("203.0.113.9") == {n1, n2})
        assert not router.next_hops("192.0.2.9"), "outside the ranges"
        # A load balancer's only address is every node's when any node will do, and the service's others with it.
        stored = world.client.get(KubernetesService, "web", namespace="default")
        stored.spec.external_traffic_policy, stored.spec.load_balancer_ip = "Cluster", "198.18.0.7"
        stored.status.load_balancer.ingress = [LoadBalancerIngress(ip="198.18.0.7")]
        world.client.update(stored)
        until(lambda: not router.next_hops("203.0.113.9"))
        with edited(world, BGPConfiguration, "default") as spec:
            spec.service_load_balancer_ips = [ServiceIPBlock(cidr="198.18.0.7/32")]
        until(lambda: router.next_hops("198.18.0.7") == router.next_hops("203.0.113.9") == {n1, n2, n3})
