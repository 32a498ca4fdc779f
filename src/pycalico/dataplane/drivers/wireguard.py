"""A family's WireGuard device and its peers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from pycalico.kernel import command, rtnetlink, wireguard
from pycalico.kernel.interfaces import Interfaces
from pycalico.kernel.netlink import NetlinkError
from pycalico.kernel.wireguard import Peer, SeenPeer
from pycalico.reconcile.target import Outcome, TargetError

log = logging.getLogger(__name__)

#: The family and the public key of its device, empty when there is none.
OnKey = Callable[[int, str], None]


class Device(msgspec.Struct, frozen=True):
    """``address`` (may be empty) is the only one of its family; ``mark`` is that of the packets it sends."""

    mtu: int
    address: str
    port: int
    mark: int
    up: bool = True
    has_key: bool = True


class Devices:
    """A reconcile target with one key, the device's name. What else has that name is left alone.

    ``on_key`` is told the public key after each look. The device makes a key of its own when it has none.
    ``suspect``: the first device found is given up when it has no peers or another key than ``published``, as others
    then may send encrypted what this node expects plain, or the other way round.
    """

    def __init__(
        self, name: str, family: int, interfaces: Interfaces, on_key: OnKey, *, suspect: bool, published: str
    ) -> None:
        self._name = name
        self._family = family
        self._interfaces = interfaces
        self._on_key = on_key
        self._suspect = suspect
        self._published = published

    def read(self) -> Mapping[str, Device]:
        try:
            self._interfaces.load()
            found = self._describe()
        except (NetlinkError, OSError, command.CommandError) as error:
            raise TargetError(f"cannot read {self._name}: {error}") from None
        if found is None:
            self._on_key(self._family, "")
            return {}
        return {self._name: found}

    def same(self, want: Device, have: Device) -> bool:
        return want == have

    def apply(self, puts: Mapping[str, Device], deletes: AbstractSet[str]) -> Outcome[str, Device]:
        try:
            if deletes:
                log.info("removing %s: WireGuard is off", self._name)
                self._remove()
                self._on_key(self._family, "")
            now = {name: self._put(want) for name, want in puts.items()}
        except (OSError, command.CommandError) as error:
            reason = f"cannot set up {self._name}: {getattr(error, 'strerror', None) or error}"
            return Outcome({}, dict.fromkeys((*puts, *deletes), reason))
        return Outcome(now)

    def _is_ours(self, index: int) -> bool:
        return rtnetlink.link_details(index)["kind"] in wireguard.KINDS

    def _describe(self) -> Device | None:
        """None: there is no such device. Tells its key."""
        interface = self._interfaces.get(self._name)
        if interface is None or not self._is_ours(interface.link.index):
            return None
        seen = wireguard.show(self._name)
        suspect, self._suspect = self._suspect, False
        if suspect and (not seen.peers or seen.public_key != self._published):
            log.info("giving %s up: its key is not the published one, or it has no peers", self._name)
            self._remove()
            return None
        self._on_key(self._family, seen.public_key)
        # More than one address is a difference too: no wish equals the joined text.
        address = ",".join(sorted(self._addresses()))
        link = interface.link
        return Device(link.mtu, address, seen.port, seen.mark, link.admin_up, bool(seen.public_key))

    def _addresses(self) -> set[str]:
        """Of the family, without link-local ones."""
        interface = self._interfaces.get(self._name)
        held = interface.addresses if interface else frozenset()
        return {
            item for item in held if (":" in item) == (self._family == 6) and not item.startswith("fe80:")
        }

    def _remove(self) -> None:
        index = self._interfaces.index_of(self._name)
        if index:
            rtnetlink.delete_link(index)
            self._interfaces.drop_link(index)

    def _put(self, want: Device) -> Device:
        interface = self._interfaces.get(self._name)
        if interface is None:
            wireguard.make(self._name)
            self._interfaces.load()
            interface = self._interfaces.get(self._name)
        if interface is None:
            raise OSError(0, "it did not appear")
        if not self._is_ours(interface.link.index):
            raise OSError(0, "an interface of that name is there that is no WireGuard device")
        seen = wireguard.show(self._name)
        if not seen.public_key or (seen.port, seen.mark) != (want.port, want.mark):
            wireguard.set_device(self._name, want.port, want.mark, fresh_key=not seen.public_key)
        self._set_address(interface.link.index, want.address)
        changes: dict[str, Any] = {}
        if interface.link.mtu != want.mtu:
            changes["mtu"] = want.mtu
        if not interface.link.admin_up:
            changes["state"] = "up"
        if changes:
            rtnetlink.set_link(interface.link.index, **changes)
        self._interfaces.load()
        found = self._describe()
        if found is None:
            raise OSError(0, "it went while it was set up")
        return found

    def _set_address(self, index: int, address: str) -> None:
        lengths = self._interfaces.prefix_lengths(self._name)
        for held in self._addresses():
            if held != address:
                rtnetlink.delete_address(index, held, lengths[held])
        if address and address not in self._addresses():
            rtnetlink.add_address(index, address, 128 if self._family == 6 else 32)


class Peers:
    """A reconcile target whose keys are other nodes' public keys."""

    def __init__(self, name: str, interfaces: Interfaces) -> None:
        self._name = name
        self._interfaces = interfaces

    def read(self) -> Mapping[str, SeenPeer]:
        if not self._interfaces.index_of(self._name):
            return {}
        try:
            return wireguard.show(self._name).peers
        except command.CommandError as error:
            raise TargetError(f"cannot read the peers of {self._name}: {error}") from None

    def same(self, want: Peer, have: SeenPeer) -> bool:
        return want == have.peer

    def apply(self, puts: Mapping[str, Peer], deletes: AbstractSet[str]) -> Outcome[str, SeenPeer]:
        if not self._interfaces.index_of(self._name):
            # Its peers went with it.
            return Outcome({}, dict.fromkeys(puts, f"there is no {self._name}"))
        failures = {}
        try:
            wireguard.change_peers(self._name, puts, deletes)
        except command.CommandError:
            failures = self._one_by_one(puts, deletes)
        now = {key: SeenPeer(peer, 0, 0, 0) for key, peer in puts.items() if key not in failures}
        return Outcome(now, failures)

    def _one_by_one(self, puts: Mapping[str, Peer], deletes: AbstractSet[str]) -> dict[str, str]:
        """So that one that is refused costs the others nothing; the reasons of those that are."""
        failures = {}
        for key in deletes | puts.keys():
            try:
                if key in puts:
                    wireguard.change_peers(self._name, {key: puts[key]}, ())
                else:
                    wireguard.change_peers(self._name, {}, [key])
            except command.CommandError as error:
                failures[key] = str(error)
        return failures
