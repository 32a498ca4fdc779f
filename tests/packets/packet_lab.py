"""A Felix on a node with pods around it, random policies in its datastore, and the reference's opinion beside it."""

import json
import time
from functools import partial

from felix_world import FelixWorld
from random_policies import HOST_ADDRESSES, NODE, OUTSIDE, PODS, World
from reference import Reference
from underlay import Underlay

from pycalico.kernel import netns

#: What a change may take until packets feel it, on a busy machine.
_SETTLE_S = 6.0
_TRY_AGAIN_S = 0.4


class PacketLab:
    """Inside ``netns.private()``. ``endpoint_to_host`` is Felix's DefaultEndpointToHostAction."""

    def __init__(self, folder, dataplane, endpoint_to_host="DROP"):
        self.endpoint_to_host = endpoint_to_host
        environ = {
            "FELIX_IPV6SUPPORT": "true",
            "FELIX_DEFAULTENDPOINTTOHOSTACTION": endpoint_to_host,
            **dataplane,
        }
        self.felix = FelixWorld(folder, environ)
        self.underlay = Underlay(PODS, OUTSIDE, HOST_ADDRESSES)
        self.applied = {}

    def start(self, standing=()):
        # Connections count from here on: the kernel follows none until a rule asks, and a host endpoint would cut
        # what it has never seen begin, such as Felix's own to the datastore.
        self.felix.run("nft add table inet probe; nft add chain inet probe seen '{ type filter hook output priority 0; }'; "
                       "nft add rule inet probe seen ct state new counter")  # fmt: skip
        self.felix.start_etcd()
        self.felix.run("ip link add eth1 type veth peer name q2; ip link set up0 name q1 2>/dev/null || "
                       "{ ip link set up0 down; ip link set up0 name q1; }")  # fmt: skip
        self.underlay.build()
        for resource in standing:
            self.felix.apply(resource)
        self.felix.supervise()
        return self

    def apply(self, resources):
        """The datastore holds these afterwards, and of what was applied before nothing else."""
        for change in self.changes(resources):
            change()

    def changes(self, resources):
        """What leads there, as functions that may be called in any order."""
        wanted = {_key(resource): resource for resource in resources}
        found = [
            partial(self._put, resource)
            for key, resource in wanted.items()
            if self.applied.get(key) != resource
        ]
        return found + [partial(self._delete, key) for key in self.applied if key not in wanted]

    def _put(self, resource):
        self.felix.apply(resource)
        self.applied[_key(resource)] = resource

    def _delete(self, key):
        self.felix.delete(self.applied.pop(key))

    def reference(self):
        return Reference(self.applied.values(), NODE, self.endpoint_to_host)

    def disagreements(self, probes):
        """Of the probes, those whose fate is not the reference's, once Felix has had time to follow."""
        reference = self.reference()
        addresses = {
            name: [address.split("/")[0] for address in found] for name, found in HOST_ADDRESSES.items()
        }
        places = self.underlay.places
        expected = {
            probe: reference.decide(
                probe[2], places[probe[0]].interface, places[probe[1]].interface, addresses
            )
            for probe in probes
        }
        left = list(probes)
        end = time.monotonic() + _SETTLE_S
        while True:
            self.underlay.forget_connections()
            seen = self.underlay.probe(left)
            left = [probe for probe, arrived in zip(left, seen, strict=True) if arrived != expected[probe]]
            if not left or time.monotonic() > end:
                return [(probe, expected[probe]) for probe in left], sum(expected[probe] for probe in probes)
            time.sleep(_TRY_AGAIN_S)

    def close(self):
        try:
            self.felix.close()
        finally:
            self.underlay.close()


def _key(resource):
    meta = resource["metadata"]
    return resource["kind"], meta.get("namespace"), meta["name"]


def run(folder, dataplane, seed, rounds, probes, endpoint_to_host="DROP"):
    """Returns how many probes were sent and how many should arrive. Raises AssertionError at a disagreement."""
    world = World(seed)
    sent = expected = 0
    with netns.private():
        lab = PacketLab(folder, dataplane, endpoint_to_host)
        try:
            lab.start(world.standing())
            for number in range(rounds):
                lab.apply(world.resources())
                found = list(world.probes(probes))
                wrong, arriving = lab.disagreements(found)
                assert not wrong, tell(lab, seed, number, wrong)
                sent += len(found)
                expected += arriving
        finally:
            lab.close()
    return sent, expected


def tell(lab, seed, number, wrong):
    lines = [f"seed {seed}, round {number}, endpoint to host {lab.endpoint_to_host}: {len(wrong)} disagree"]
    lines += [f"{'should' if should else 'must not'} arrive: {probe}" for probe, should in wrong[:10]]
    lines += [json.dumps(resource) for resource in lab.applied.values()]
    return "\n".join([*lines, lab.felix.log()[-2000:]])
