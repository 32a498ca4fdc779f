"""Who is in which IP set: endpoints and network sets by selector, named ports, services. Reference counted."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pycalico.api.meta import Key
from pycalico.api.v3.kubernetes import KubernetesEndpointSlice
from pycalico.calc import addresses
from pycalico.calc.labels import LabelIndex
from pycalico.calc.scanner import SetDefinition
from pycalico.calc.sequencer import Sequencer

_SERVICE_NAME = "kubernetes.io/service-name"


class Contributor(msgspec.Struct, frozen=True):
    """What an endpoint or network set brings into a set: networks, and named ports (name, protocol, number)."""

    nets: tuple[str, ...]
    ports: tuple[tuple[str, str, int], ...] = ()

    def members(self, definition: SetDefinition) -> Iterable[str]:
        if not definition.port_name:
            return self.nets
        return [
            f"{net.split('/')[0]},{protocol}:{number}"
            for name, protocol, number in self.ports
            if name == definition.port_name and protocol == definition.protocol
            for net in self.nets
        ]


class SetMembers:
    """Follows the sets that active rules need."""

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        self._index: LabelIndex[Key, str] = LabelIndex()
        self._definitions: dict[str, SetDefinition] = {}
        self._users: dict[str, int] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._contributors: dict[Key, Contributor] = {}
        self._slices: dict[Key, tuple[str, frozenset[str], frozenset[str]]] = {}
        self._of_service: dict[str, dict[Key, None]] = {}

    @property
    def index(self) -> LabelIndex[Key, str]:
        """Endpoints and network sets, and the selectors held against them."""
        return self._index

    # ---- sets

    def use(self, definition: SetDefinition) -> None:
        """One more rule needs the set."""
        count = self._users.get(definition.id, 0)
        self._users[definition.id] = count + 1
        if count:
            return
        self._definitions[definition.id] = definition
        self._counts[definition.id] = {}
        self._sequencer.add_set(definition.id, definition.type)
        if definition.selector is not None:
            self._apply(self._index.add(definition.id, definition.selector))
            return
        for key in self._of_service.get(definition.service, ()):
            self._count(definition.id, self._slice_members(key, definition), 1)

    def drop(self, set_id: str) -> None:
        """One rule less needs the set."""
        self._users[set_id] -= 1
        if self._users[set_id]:
            return
        del self._users[set_id]
        definition = self._definitions.pop(set_id)
        if definition.selector is not None:
            self._index.discard(set_id)
        del self._counts[set_id]
        self._sequencer.remove_set(set_id)

    # ---- endpoints and network sets

    def put(
        self, key: Key, labels: dict[str, str], profiles: tuple[str, ...], contributor: Contributor
    ) -> None:
        before = self._contributors.get(key)
        if before is not None and before != contributor:
            # Add before removing, so that a member that stays never leaves the set.
            for set_id in self._index.matches_of(key):
                definition = self._definitions[set_id]
                self._count(set_id, contributor.members(definition), 1)
                self._count(set_id, before.members(definition), -1)
        self._contributors[key] = contributor
        self._apply(self._index.put(key, labels, profiles))

    def remove(self, key: Key) -> None:
        if key not in self._contributors:
            return
        self._apply(self._index.remove(key))
        del self._contributors[key]

    def put_profile_labels(self, profile: str, labels: dict[str, str]) -> None:
        self._apply(self._index.put_parent(profile, labels))

    def remove_profile(self, profile: str) -> None:
        self._apply(self._index.remove_parent(profile))

    def _apply(self, events: Iterable[tuple[str, Key, bool]]) -> None:
        ordered = sorted(events, key=lambda event: not event[2])
        for set_id, key, began in ordered:
            members = self._contributors[key].members(self._definitions[set_id])
            self._count(set_id, members, 1 if began else -1)

    # ---- services

    def put_slice(self, resource: KubernetesEndpointSlice) -> None:
        key, meta = resource.key, resource.metadata
        service = meta.labels.get(_SERVICE_NAME, "")
        found: set[str] = set()
        with_ports: set[str] = set()
        for endpoint in resource.endpoints:
            for text in endpoint.addresses:
                net = addresses.network(text)
                found.add(net)
                for port in resource.ports:
                    if port.port:
                        protocol = (port.protocol or "TCP").lower()
                        with_ports.add(f"{net.split('/')[0]},{protocol}:{port.port}")
        new = (f"{meta.namespace}/{service}" if service else "", frozenset(found), frozenset(with_ports))
        if self._slices.get(key) == new:
            return
        self._move_slice(key, new)

    def remove_slice(self, key: Key) -> None:
        if key in self._slices:
            self._move_slice(key, None)

    def _move_slice(self, key: Key, new: tuple[str, frozenset[str], frozenset[str]] | None) -> None:
        old = self._slices.get(key)
        changes = []
        if old is not None:
            changes += [(d, self._slice_members(key, d), -1) for d in self._definitions_of(old[0])]
            self._of_service[old[0]].pop(key, None)
        if new is None:
            del self._slices[key]
        else:
            self._slices[key] = new
            self._of_service.setdefault(new[0], {})[key] = None
            changes += [(d, self._slice_members(key, d), 1) for d in self._definitions_of(new[0])]
        for definition, members, step in sorted(changes, key=lambda change: -change[2]):
            self._count(definition.id, members, step)

    def _definitions_of(self, service: str) -> list[SetDefinition]:
        return [d for d in self._definitions.values() if service and d.service == service]

    def _slice_members(self, key: Key, definition: SetDefinition) -> frozenset[str]:
        _, plain, with_ports = self._slices[key]
        return with_ports if definition.id.startswith("svc:") else plain

    def _count(self, set_id: str, members: Iterable[str], step: int) -> None:
        counts = self._counts[set_id]
        for net in members:
            for member in addresses.members(net) if "," not in net else (net,):
                count = counts.get(member, 0) + step
                if count:
                    counts[member] = count
                else:
                    del counts[member]
                if step > 0 and count == 1:
                    self._sequencer.add_member(set_id, member)
                elif count == 0:
                    self._sequencer.remove_member(set_id, member)
